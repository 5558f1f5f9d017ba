"""The service when it starts and when nobody asks: the parts of `scripts/bench/standby.py`.

proc      memory and CPU of one process, from /proc
modelfile a copy of the model that can be made cold
starts    start a program, wait for what it says; the service and the bare floors
turn      one round: everything that is measured, once
tables    samples -> Markdown (pure)
"""
