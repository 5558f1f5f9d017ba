"""resilience4j 2.x, CircuitBreaker with its defaults.

Source: `CircuitBreakerConfig` and https://resilience4j.readme.io/docs/circuitbreaker: opens at a
failure rate of 50 % over a count-based window of 100 calls, of which at least 100 must have been
made, or when 100 % of them took longer than 60 s; stays open 60 s; then permits 10 calls, whose
rate decides by the same thresholds; waits for them without limit. Every exception counts, and
the usual clients raise one for any status from 400 up.
"""

from __future__ import annotations

from collections import deque

from fallback.core.outcome import AttemptFacts
from outage_sim.rules.base import OPEN, Peer, Ticket, succeeded
from outage_sim.traffic import Call

_WINDOW = 100
_FAILURE_RATE = 0.5
_SLOW_S = 60.0
_OPEN_S = 60.0
_TRIALS = 10


class Resilience4j(Peer):
    name = "resilience4j"

    def __init__(self) -> None:
        self._size = _WINDOW
        self._failed: deque[bool] = deque(maxlen=_WINDOW)
        self._slow: deque[bool] = deque(maxlen=_WINDOW)
        self._failures = self._slows = 0
        self._open_until: float | None = None
        self._permits: int | None = None

    def admit(self, call: Call, now: float) -> Ticket | None:
        if self._open_until is not None and now >= self._open_until:
            self._begin(_TRIALS)
            self._open_until, self._permits = None, _TRIALS
        if self._open_until is not None or self._permits == 0:
            return None
        if self._permits is not None:
            self._permits -= 1
        return OPEN

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None:
        if self._open_until is not None:
            return
        self._count(not succeeded(facts), facts.duration_s > _SLOW_S)
        if len(self._failed) < self._size:
            return
        bad = self._failures >= _FAILURE_RATE * self._size or self._slows == self._size
        if bad:
            self._open_until, self._permits = now + _OPEN_S, None
        elif self._permits is not None:
            self._permits = None
            self._begin(_WINDOW)

    def closed(self, family: str, now: float) -> bool:
        return self._open_until is not None or self._permits is not None

    def _begin(self, size: int) -> None:
        self._size, self._failures, self._slows = size, 0, 0
        self._failed, self._slow = deque(maxlen=size), deque(maxlen=size)

    def _count(self, failed: bool, slow: bool) -> None:
        if len(self._failed) == self._size:
            self._failures -= self._failed[0]
            self._slows -= self._slow[0]
        self._failed.append(failed)
        self._slow.append(slow)
        self._failures += failed
        self._slows += slow
