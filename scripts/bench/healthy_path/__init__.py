"""What a proxy costs while the cloud is well: the parts of `scripts/bench/overhead.py`.

payloads       the requests and the answers, as bytes
mock_upstream  the cloud stand-in, a process of its own
load           the client: closed loop, paced streams
processes      start, stop, CPU and memory of a proxy's process tree
peers          how each proxy is installed, configured and started
measure        one turn: everything that is measured of one proxy in one round
report         samples -> medians, ratios, verdicts, text (pure)
"""
