"""Two ways to one answer: the second starts when the first is late, the first to commit wins.

Source of the idea: J. Dean, L. A. Barroso, "The Tail at Scale", CACM 56 (2013), hedged requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeAlias, TypeVar

T = TypeVar("T")
Way: TypeAlias = Callable[[], Coroutine[Any, Any, T | None]]


class Race(Generic[T]):
    """Run `first`; beside it `second`, from `start_after_s` on or from `hurry`.

    Either gives its answer or None. A `second` that gives None has nothing to offer, and `first`
    goes on alone. One that is ready sooner than `win_after_s` waits until then. `more_s` is asked
    once, when the time has come, whether to wait longer. The loser is cancelled, and `discard`
    frees an answer that nobody will use.
    """

    def __init__(
        self,
        first: Way[T],
        second: Way[T],
        *,
        discard: Callable[[T], Awaitable[None]],
        start_after_s: float,
        more_s: Callable[[], float] = lambda: 0.0,
        win_after_s: float = 0.0,
    ) -> None:
        self._make_first = first
        self._make_second = second
        self._discard = discard
        self._start_after_s = start_after_s
        self._more_s = more_s
        self._win_after_s = win_after_s
        self._second: asyncio.Task[T | None] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._began = 0.0
        self._task: asyncio.Task[Any] | None = None
        self._lost = False

    def __repr__(self) -> str:
        started = "started" if self.second_started else "waiting"
        return f"<Race second={started} after={self._start_after_s}>"

    @property
    def second_started(self) -> bool:
        return self._second is not None

    def hurry(self) -> None:
        """Start the second now, if it has not."""
        if self._second is None and self._task is not None:
            self._second = asyncio.ensure_future(self._make_second())
            self._second.add_done_callback(self._second_ended)

    async def run(self) -> tuple[T | None, T | None]:
        """The two answers, of which at most one is there. Without any, `second_started` says
        whether the second had its turn."""
        loop = asyncio.get_running_loop()
        self._began = loop.time()
        self._timers.append(loop.call_later(self._start_after_s, self._late))
        try:
            answer = await self._run_first()
            if answer is not None:
                await self._drop_second(answer)
                return answer, None
            return None, await self._second if self._second is not None else None
        except BaseException:
            await self._drop_second(None)
            raise
        finally:
            for timer in self._timers:
                timer.cancel()

    async def _run_first(self) -> T | None:
        """The first, in the caller's own task: one of its own would cost every healthy request."""
        self._task = task = asyncio.current_task()
        assert task is not None
        cancelling = task.cancelling()
        try:
            return await self._make_first()
        except asyncio.CancelledError:
            # Cancelled by its rival alone, or by the caller as well?
            if not self._lost or task.uncancel() > cancelling:
                raise
            return None
        finally:
            self._task = None

    def _late(self) -> None:
        more_s = self._more_s()
        if more_s > 0:
            self._timers.append(asyncio.get_running_loop().call_later(more_s, self.hurry))
        else:
            self.hurry()

    def _second_ended(self, second: asyncio.Task[T | None]) -> None:
        if second.cancelled():
            return
        if second.exception() is not None:
            # A bug; it is raised where the second is awaited.
            self._lose()
        elif second.result() is not None:
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_at(self._began + self._win_after_s, self._lose))

    def _lose(self) -> None:
        if self._task is not None and not self._lost:
            self._lost = True
            self._task.cancel()

    async def _drop_second(self, first: T | None) -> None:
        """Free what the second may have ready; and the first's answer, if that is interrupted."""
        if self._second is None:
            return
        self._second.cancel()
        try:
            (ended,) = await asyncio.gather(self._second, return_exceptions=True)
        except BaseException:
            if first is not None:
                await self._discard(first)
            raise
        if ended is not None and not isinstance(ended, BaseException):
            await self._discard(ended)
