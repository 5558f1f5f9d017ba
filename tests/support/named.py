"""`python -m support.named PORT serve ...`: the real service, its names resolved by a name
server at that UDP port on loopback.

The system's resolver cannot be told a port without being root. So its place, and nothing else,
is taken by a stub with the same manners (resolv.conf(5): 5 s, two attempts; four threads, as
libuv has) and the same errors (getaddrinfo(3)).
"""

from __future__ import annotations

import functools
import ipaddress
import random
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvloop

from fallback.cli import main as fallback
from support.nameserver import outcome, query

_TIMEOUT_S, _ATTEMPTS, _THREADS = 5.0, 2, 4


class StubLoop(uvloop.Loop):
    """An event loop that looks names up with `look_up`, in as many threads as libuv does."""

    def __init__(self, look_up: Callable[..., Any]) -> None:
        super().__init__()
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(_THREADS)

    async def getaddrinfo(self, host: Any, port: Any, **hints: Any) -> Any:
        if _is_number(_text(host)):
            return await super().getaddrinfo(host, port, **hints)
        look_up = functools.partial(self._look_up, host, port, **hints)
        return await self.run_in_executor(self._threads, look_up)


def look_up(server: int, system: Callable[..., Any], host: Any, port: Any, **hints: Any) -> Any:
    """`socket.getaddrinfo`, with the addresses of names asked of the name server at `server`."""
    name = _text(host)
    return system(name if _is_number(name) else resolve(name, server), port, **hints)


def _text(host: Any) -> Any:
    return host.decode("idna") if isinstance(host, bytes) else host


def _is_number(name: str | None) -> bool:
    try:
        ipaddress.ip_address(name or "::")
    except ValueError:
        return False
    return True


def resolve(name: str, port: int) -> str:
    """The address of `name`. Raises `socket.gaierror` as glibc would."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(_TIMEOUT_S)
        asking.connect(("127.0.0.1", port))
        for _ in range(_ATTEMPTS):
            asking.send(query(name, random.randrange(2**16)))
            try:
                code, address = outcome(asking.recv(512))
            except TimeoutError:
                continue
            if code == 3 or (code == 0 and address is None):
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            if address is not None:
                return address
            break
    raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def main() -> None:
    stub = functools.partial(look_up, int(sys.argv.pop(1)), socket.getaddrinfo)
    socket.getaddrinfo = stub
    # uvicorn asks for its loop by this name.
    uvloop.new_event_loop = functools.partial(StubLoop, stub)
    fallback()


if __name__ == "__main__":
    main()
