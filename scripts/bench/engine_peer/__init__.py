"""The engine beside llama-server: the parts of `scripts/bench/engine.py`.

build       llama-server from the source our bindings come from, found or built once
contenders  how each side is started: with the same settings, or as it comes
service     ours with settings that no configuration file has (a program of its own)
chat        a client of both: what is asked, when each part of the answer came
reading     a stream of chunks -> an answer with its times (pure)
prompts     texts of a wanted length, new ones where no cache may help (pure)
figures     answers -> rates, waits, slow-downs (pure)
race        contenders in turn, round by round
cases/      what is measured, one subject a file
report      samples -> medians, ratios, verdicts, Markdown (pure)
"""
