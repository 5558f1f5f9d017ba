"""A stand-in for the clouds: real sockets, exact shapes, faults on demand.

`StandIn` runs in a thread of the test process, `standin_process` as a process that can be
killed. `faults` has the ways to fail; `wire.Request` is what was recorded.
"""

from standin.process import Service, standin_process
from standin.server import HOST, PATIENCE_S, StandIn, free_port
from standin.wire import Request

__all__ = [
    "HOST",
    "PATIENCE_S",
    "Request",
    "Service",
    "StandIn",
    "free_port",
    "standin_process",
]
