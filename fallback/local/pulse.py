"""Tells a worker that lives from one that is dead or hung. Pure: time is an argument."""

from __future__ import annotations

from fallback.local.wire import Pong


class Pulse:
    """Fed with the pings sent and the pongs heard.

    Misses are counted, not timed: a machine that slept, or an event loop that was busy, has
    missed one beat, not many.
    """

    def __init__(self, *, misses_allowed: int, stall_s: float, now: float) -> None:
        self._misses_allowed = misses_allowed
        self._stall_s = stall_s
        self._unanswered = 0
        self._progress = -1
        self._progressed_at = now
        self._busy = False
        self.gauges = Pong(progress=0, active=0, queued=0)

    def __repr__(self) -> str:
        return f"<Pulse unanswered={self._unanswered} progress={self._progress}>"

    def ping(self, now: float) -> str | None:
        """A ping is due: why the worker is to be given up instead, or None."""
        if self._unanswered >= self._misses_allowed:
            return f"it left {self._unanswered} heartbeats unanswered"
        if self._busy and now - self._progressed_at >= self._stall_s:
            return f"it has had work for {self._stall_s:g} s and made no progress"
        self._unanswered += 1
        return None

    def pong(self, pong: Pong, now: float) -> None:
        """The worker answered."""
        self._unanswered = 0
        was_busy, self._busy = self._busy, pong.active + pong.queued > 0
        if pong.progress != self._progress or not was_busy:
            self._progressed_at = now
        self._progress = pong.progress
        self.gauges = pong
