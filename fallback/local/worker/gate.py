"""Who is not let in, and who of those that wait is sent away. Pure.

The engine has as many places as slots and waiting ones. What comes when all are taken is
refused, unless others of lower priority wait: then the least of those loses its place, with the
next step. What is sure to begin too late is refused as well, or sent away as soon as it is sure.
"""

from __future__ import annotations

from collections.abc import Collection

from fallback.local.worker.forecast import Forecast
from fallback.local.worker.queueing import Sequence, least
from fallback.local.worker.refusal import too_many, too_slow


class Gate:
    """Of an engine with so many `places`."""

    def __init__(self, places: int, forecast: Forecast) -> None:
        self._places = places
        self._forecast = forecast

    def __repr__(self) -> str:
        return f"<Gate places={self._places}>"

    def check(
        self,
        newcomer: Sequence,
        running: Collection[Sequence],
        waiting: Collection[Sequence],
        now: float,
    ) -> None:
        """Raises `EngineBusy`, with the expected wait. Where there is nothing to wait for nobody
        is refused for being late: late is better than never."""
        ahead = sum(s.counts_against(newcomer) for s in (*running, *waiting))
        by_s = newcomer.job.start_by_s
        if ahead < self._places and by_s is None:
            return
        wait_s = self._forecast.wait_s(newcomer, running, waiting, now)
        if ahead >= self._places:
            raise too_many(wait_s=wait_s, running=len(running), waiting=len(waiting))
        if by_s is not None and wait_s > 0 and self._forecast.too_late(newcomer, now, wait_s):
            read_s = self._forecast.read_s(newcomer)
            raise too_slow(wait_s=wait_s, read_s=read_s, within_s=by_s - now)

    def sent_away(
        self, running: Collection[Sequence], waiting: Collection[Sequence], now: float
    ) -> list[Sequence]:
        """Those who wait in vain."""
        late = [s for s in waiting if self._forecast.too_late(s, now)]
        rest = [s for s in waiting if s not in late]
        return late + least(rest, len(running) + len(rest) - self._places)
