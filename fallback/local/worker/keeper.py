"""Sees to it that what was computed outlives this process: states go to disk while nobody waits."""

from __future__ import annotations

import math
from collections.abc import Callable

from fallback.local.worker.lease import Spill
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.residence import Residence
from fallback.local.worker.spill_writer import SpillWriter

# A conversation's next turn soon makes the last one's state worthless: not each is worth a write.
QUIET_S = 20.0
_LOOK_S = 0.2


class Keeper:
    """Has states written after `QUIET_S` without work; called on the decode thread. `clock` in
    seconds."""

    def __init__(
        self,
        cache: PrefixCache,
        residence: Residence,
        writer: SpillWriter | None,
        clock: Callable[[], float],
    ) -> None:
        self._cache = cache
        self._residence = residence
        self._writer = writer
        self._clock = clock
        self._quiet_at = clock()

    def __repr__(self) -> str:
        return f"<Keeper {self._writer!r} {self._cache!r}>"

    @property
    def cache_bytes(self) -> int:
        """What the states beside the context take in RAM."""
        return self._cache.state_bytes

    def worked(self) -> None:
        """Somebody was served."""
        self._quiet_at = self._clock() + QUIET_S

    def tidy(self) -> float:
        """Do a piece of what is to be done, if it is time; in how many seconds there is more:
        0 at once, infinite when all is on disk."""
        if self._writer is None:
            return math.inf
        self._note(self._writer)
        if (wait_s := self._quiet_at - self._clock()) > 0:
            return wait_s
        if (save := self._cache.backup()) is not None:
            self._residence.save(save)
            return 0.0
        if not self._writer.has_room:
            return _LOOK_S
        if (found := self._next()) is not None:
            self._writer.write(*found)
            return 0.0
        return _LOOK_S if self._writer.busy else math.inf

    def flush(self, until: float) -> None:
        """Write what can be written by then (the clock's time): the process is about to end."""
        if self._writer is None:
            return
        while self._clock() < until and (save := self._cache.backup()) is not None:
            self._residence.save(save)
        while self._writer.wait_for_room(self._until(until)):
            if (found := self._next()) is None:
                break
            self._writer.write(*found)
        self._writer.close(self._until(until))

    def _until(self, then: float) -> float:
        return max(0.0, then - self._clock())

    def _next(self) -> tuple[Spill, memoryview] | None:
        while (spill := self._cache.spillable()) is not None:
            if (blob := self._residence.blob(spill.key)) is not None:
                return spill, blob.data
        return None

    def _note(self, writer: SpillWriter) -> None:
        for spill, dropped in writer.done():
            writer.drop(self._cache.spilled(spill, dropped))
            self._residence.let_go(self._cache.threefold())
        writer.drop(self._residence.take_bad())
