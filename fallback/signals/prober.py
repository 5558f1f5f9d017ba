"""Looks after unwell upstreams, at no cost, until they are well; nothing is asked of a healthy one.

The first strong evidence starts the ladder at once; from then on it is climbed on the board's
schedule, at once again when this machine wakes or its network changes. Status pages are read
beside it. All that comes of it is evidence.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeAlias

from fallback.core.diagnosis import Diagnosis
from fallback.core.health import Board, Change, Evidence, State, upstream_scope
from fallback.signals import machine
from fallback.signals.status_page import PERIOD_S, StatusReading

_log = logging.getLogger("fallback.signals")

Look: TypeAlias = Callable[[str], Awaitable[Diagnosis]]
ReadPage: TypeAlias = Callable[[str], Awaitable[StatusReading | None]]
WatchMachine: TypeAlias = Callable[[Callable[[], None]], Coroutine[Any, Any, None]]

_PROBED = (State.SUSPECT, State.DOWN)
_GAP_S = 1.0
_FIRST_S = 2.0


class Prober:
    """One task per unwell upstream, one look at each at a time.

    `look` climbs an upstream's ladder; `public` names the upstreams that depend on the network,
    which one of them looks after; `jitter` gives a random number in [0, 1).
    """

    def __init__(
        self,
        board: Board,
        look: Look,
        *,
        public: Sequence[str],
        clock: Callable[[], float],
        jitter: Callable[[], float],
        read_page: ReadPage | None = None,
        watch_machine: WatchMachine = machine.watch,
    ) -> None:
        self._board = board
        self._climb = look
        self._public = public
        self._clock = clock
        self._jitter = jitter
        self._read_page = read_page
        self._watch_machine = watch_machine
        self._watches: dict[str, asyncio.Task[None]] = {}
        self._looks: dict[str, asyncio.Task[None]] = {}
        self._looked_at: dict[str, float] = {}
        self._woken: dict[str, asyncio.Event] = {}  # of those that are watched
        self._machine: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Prober of {list(self._woken)}>"

    def notice(self, change: Change) -> None:
        """Hear of a change of health; begins to look where there is reason to."""
        kind = change.scope.kind
        if kind == "model" and change.before is State.HEALTHY:
            # An overload is a model's, unless its upstream cannot even list its models.
            self.look(change.scope.upstream)
        same = (change.before in _PROBED) is (change.after in _PROBED)
        if same or kind not in ("upstream", "network"):
            return
        concerned = self._public if kind == "network" else (change.scope.upstream,)
        watched = [name for name in concerned if name in self._woken]
        for name in watched:
            look = self._looks.get(name)
            if look is None or look.done():  # else it will see for itself
                self._woken[name].set()
        if change.after in _PROBED and concerned and not watched:
            # What is found out about one upstream tells of the network that all share.
            self._begin(concerned[0])

    def look(self, upstream: str) -> None:
        """Look at an upstream now, unless that is under way or was just done."""
        if self._clock() - self._looked_at.get(upstream, float("-inf")) >= _GAP_S:
            self._looking(upstream)

    def wake(self) -> None:
        """Look at all that is unwell now; the pauses begin small again."""
        for woken in self._woken.values():
            woken.set()

    async def stop(self) -> None:
        tasks = [*self._watches.values(), *self._looks.values()]
        if self._machine is not None:
            tasks.append(self._machine)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- one upstream ------------------------------------------------------------------------

    def _begin(self, upstream: str) -> None:
        self._woken[upstream] = asyncio.Event()
        self._watches[upstream] = asyncio.ensure_future(self._watch(upstream))
        if self._machine is None:
            self._machine = asyncio.ensure_future(self._watch_machine(self.wake))

    def _is_unwell(self, upstream: str) -> bool:
        return self._board.state(upstream) in _PROBED

    async def _watch(self, upstream: str) -> None:
        page = asyncio.ensure_future(self._follow_page(upstream))
        try:
            await self._look_until_well(upstream)
        finally:
            # At once: whoever is unwell again from here on needs another watch.
            del self._woken[upstream]
            if self._machine is not None and not self._woken:
                self._machine.cancel()
                self._machine = None
            page.cancel()
            await asyncio.gather(page, return_exceptions=True)

    async def _look_until_well(self, upstream: str) -> None:
        woken_at = float("-inf")
        while self._is_unwell(upstream):
            await asyncio.shield(self._looking(upstream))
            if self._is_unwell(upstream) and await self._pause(upstream, woken_at):
                woken_at = self._clock()

    async def _pause(self, upstream: str, woken_at: float) -> bool:
        """True if it was cut short."""
        now, woken = self._clock(), self._woken[upstream]
        scheduled = self._board.probe_delay_s(upstream, now, self._jitter())
        try:
            async with asyncio.timeout(min(scheduled, _FIRST_S + now - woken_at)):
                await woken.wait()
        except TimeoutError:
            return False
        woken.clear()
        return True

    def _looking(self, upstream: str) -> asyncio.Task[None]:
        """The look that is under way, or begins now."""
        look = self._looks.get(upstream)
        if look is None or look.done():
            self._looked_at[upstream] = self._clock()
            look = self._looks[upstream] = asyncio.ensure_future(self._look(upstream))
        return look

    async def _look(self, upstream: str) -> None:
        try:
            diagnosis = await self._climb(upstream)
            _log.debug("%s: %s", upstream, diagnosis.summary)
            for evidence in diagnosis.evidence:
                self._board.record(evidence, self._clock())
        except Exception:  # noqa: BLE001 - the last line: without looks it would stay down
            _log.exception("a bug in fallback: the look at %s", upstream)

    # -- its status page ---------------------------------------------------------------------

    async def _follow_page(self, upstream: str) -> None:
        """Tell each time it gets worse; all that is told weighs no more than the worst."""
        told = 0.0
        while self._read_page is not None:
            try:
                reading = await self._read_page(upstream)
            except Exception:  # noqa: BLE001 - the last line, as above
                _log.exception("a bug in fallback: the status page of %s", upstream)
                return
            if reading is not None and reading.weight > told and self._is_unwell(upstream):
                more, told = reading.weight - told, reading.weight
                self._board.record(_from_page(upstream, reading, more), self._clock())
            await asyncio.sleep(PERIOD_S)


def _from_page(upstream: str, reading: StatusReading, weight: float) -> Evidence:
    return Evidence(
        scope=upstream_scope(upstream),
        source="status-page",
        weight=weight,
        reason=f"status-{reading.status.replace('_', '-')}",
        summary=reading.text,
    )
