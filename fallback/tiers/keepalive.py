"""Streams that say something now and then, so that nobody between here and the client gives up."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

Send = Callable[[bytes], Awaitable[None]]

_AT_ONCE_S = 1e-3  # less is not worth a sleep, and may be too little for a clock to move at all


@asynccontextmanager
async def kept_alive(
    send: Send, keepalive: Callable[[], bytes], silence_s: float
) -> AsyncGenerator[Send, None]:
    """`send`, beside which a `keepalive()` is sent whenever nothing was for `silence_s` seconds.

    Beside, not around it: a task and a timer for each of an answer's parts would take a seventh
    of the time that they take in all.
    """
    line = _Line(send, silence_s)
    watching = asyncio.create_task(line.watch(keepalive))
    try:
        yield line.send
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


class _Line:
    """Knows when something was sent last."""

    def __init__(self, send: Send, silence_s: float) -> None:
        self._send = send
        self._silence_s = silence_s
        self._clock = asyncio.get_running_loop().time
        self._sending = 0
        self._sent_at = self._clock()

    async def send(self, chunk: bytes) -> None:
        self._sending += 1
        try:
            await self._send(chunk)
        finally:
            self._sending -= 1
            self._sent_at = self._clock()

    async def watch(self, keepalive: Callable[[], bytes]) -> None:
        while True:
            silent_s = 0.0 if self._sending else self._clock() - self._sent_at
            if silent_s >= self._silence_s - _AT_ONCE_S:
                await self.send(keepalive())
                silent_s = 0.0
            await asyncio.sleep(self._silence_s - silent_s)
