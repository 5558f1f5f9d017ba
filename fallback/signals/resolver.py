"""Names to addresses, in threads of its own.

The system's resolver cannot be cancelled and hangs for up to half a minute where packets to the
name server are lost. In the event loop's own pool a few such look-ups would keep the requests'
ones waiting, and the program from ending: hence daemon threads, few for each name.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

from aiohappyeyeballs import AddrInfoType

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]

_HANGING_PER_NAME = 8


class Resolver:
    """Satisfies `Resolve`; `look_up` is `socket.getaddrinfo` or has its manners."""

    def __init__(self, look_up: Callable[..., Sequence[AddrInfoType]]) -> None:
        self._look_up = look_up
        self._hanging: Counter[str] = Counter()

    async def __call__(self, host: str, port: int) -> Sequence[AddrInfoType]:
        """The TCP addresses of a host. Raises `OSError` or `UnicodeError`."""
        if self._hanging[host] >= _HANGING_PER_NAME:
            raise TimeoutError("earlier look-ups of this name still hang")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Sequence[AddrInfoType]] = loop.create_future()
        self._hanging[host] += 1
        threading.Thread(
            target=self._run, args=(host, port, loop, future), name=f"dns-{host}", daemon=True
        ).start()
        return await future

    def _run(
        self,
        host: str,
        port: int,
        loop: asyncio.AbstractEventLoop,
        future: asyncio.Future[Sequence[AddrInfoType]],
    ) -> None:
        found: Sequence[AddrInfoType] = ()
        error: Exception | None = None
        try:
            found = self._look_up(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError) as failed:
            error = failed
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(self._settle, host, future, found, error)

    def _settle(
        self,
        host: str,
        future: asyncio.Future[Sequence[AddrInfoType]],
        found: Sequence[AddrInfoType],
        error: Exception | None,
    ) -> None:
        self._hanging[host] -= 1
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(found)
