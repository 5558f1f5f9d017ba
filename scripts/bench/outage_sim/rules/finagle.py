"""Finagle, failure accrual with its default (hybrid) policy.

Source: `FailureAccrualPolicy`, `FailureAccrualFactory` and
https://twitter.github.io/finagle/guide/Clients.html#failure-accrual: dead after 5 consecutive
failures, or where the moving average of success over 30 s is under 80 % with at least 5 requests
in that time and 30 s of history; dead for 5 s doubling to 300 s with equal jitter, then one
request decides. Answers of 500 and up count as failures, like none at all.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

from fallback.core.outcome import AttemptFacts
from outage_sim.rules.base import OPEN, Peer, Ticket, is_server_error
from outage_sim.traffic import Call

_CONSECUTIVE = 5
_SUCCESS = 0.8
_WINDOW_S = 30.0
_REQUESTS = 5
_DEAD_FIRST_S = 5.0
_DEAD_CAP_S = 300.0


class Finagle(Peer):
    name = "Finagle"

    def __init__(self, random: Random, *, started: float) -> None:
        self._random = random
        self._dead_until: float | None = None
        self._trial_under_way = False
        self._history = _History(started)

    def admit(self, call: Call, now: float) -> Ticket | None:
        if self._dead_until is None:
            return OPEN
        if now < self._dead_until or self._trial_under_way:
            return None
        self._trial_under_way = True
        return Ticket()

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None:
        failed = is_server_error(facts)
        trial = ticket is not OPEN
        if self._dead_until is not None and not trial:
            return  # it was sent before, and decides nothing any more
        self._trial_under_way = False
        if trial and not failed:
            self._dead_until = None
            self._history = _History(now)
        bad = self._history.accrue(failed, now)
        if failed and (bad or trial):
            self._dead_until = now + self._dead_s()

    def closed(self, family: str, now: float) -> bool:
        return self._dead_until is not None

    def _dead_s(self) -> float:
        """The first time whole, then doubling, half of it drawn."""
        deaths, self._history.deaths = self._history.deaths, self._history.deaths + 1
        if deaths == 0:
            return _DEAD_FIRST_S
        half = _DEAD_FIRST_S * float(2 ** min(deaths - 1, 10))
        return min(_DEAD_CAP_S, half + self._random.random() * half)


class _History:
    """What is remembered since the start, or since the last revival."""

    def __init__(self, now: float) -> None:
        self.deaths = 0
        self._born = self._updated = now
        self._average: float | None = None
        self._consecutive = 0
        self._recent: deque[float] = deque(maxlen=_REQUESTS)

    def accrue(self, failed: bool, now: float) -> bool:
        """Count one outcome; whether the policies say dead."""
        self._consecutive = self._consecutive + 1 if failed else 0
        value = 0.0 if failed else 1.0
        keep = math.exp(-(now - self._updated) / _WINDOW_S)
        old = value if self._average is None else self._average
        self._average = value * (1.0 - keep) + old * keep
        self._updated = now
        self._recent.append(now)
        poor = self._average < _SUCCESS and now - self._born >= _WINDOW_S
        enough = len(self._recent) == _REQUESTS and now - self._recent[0] <= _WINDOW_S
        return (poor and enough) or self._consecutive >= _CONSECUTIVE
