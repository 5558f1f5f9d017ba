"""A server for every fault that is known, and the table of what clients see of each.

A fault is one small value in `network_faults`, `http_faults`, `stream_faults` or
`semantic_faults`, registered in the tuple at the end of that file; what may come of it is one
line in `expected`. `server.FaultServer` plays them over real sockets on loopback, `sdk` asks
with the official SDKs, `cells` puts both together around the real service.

The whole table, with the timings of the default settings:

    PYTHONPATH=tests:tests/e2e python -m support.table [--slow] [NAME ...]
"""
