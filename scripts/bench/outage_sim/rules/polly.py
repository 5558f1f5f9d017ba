"""Polly 8, circuit breaker strategy with its defaults.

Source: `CircuitBreakerConstants` and https://www.pollydocs.org/strategies/circuit-breaker: opens
on a failure where, of at least 100 calls in 30 s (in ten slices), 10 % failed; stays open 5 s;
then one call decides. What counts for HTTP: `HttpClientResiliencePredicates` of
Microsoft.Extensions.Http.Resilience 9: no answer, 408, 429, and 500 and up.
"""

from __future__ import annotations

from collections import deque

from fallback.core.outcome import AttemptFacts
from outage_sim.rules.base import OPEN, Peer, Ticket, is_server_error
from outage_sim.traffic import Call

_RATIO = 0.1
_THROUGHPUT = 100
_SAMPLING_S = 30.0
_SLICE_S = _SAMPLING_S / 10
_BREAK_S = 5.0


class Polly(Peer):
    name = "Polly"

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()  # [start, calls, failures]
        self._calls = self._failures = 0.0
        self._open_until: float | None = None
        self._trial = False

    def admit(self, call: Call, now: float) -> Ticket | None:
        if self._open_until is None:
            return OPEN
        if now < self._open_until:
            return None
        # Half open: one trial, and another should it not have come back in a break's time.
        self._open_until, self._trial = now + _BREAK_S, True
        return Ticket()

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None:
        failed = is_server_error(facts) or facts.status in (408, 429)
        if self._trial and ticket is not OPEN:
            self._trial = False
            self._decide(failed, now)
            return
        self._count(failed, now)
        if failed and self._open_until is None and self._calls >= _THROUGHPUT:
            broken = self._failures >= _RATIO * self._calls
            self._open_until = now + _BREAK_S if broken else None

    def closed(self, family: str, now: float) -> bool:
        return self._open_until is not None

    def _decide(self, failed: bool, now: float) -> None:
        if failed:
            self._open_until = now + _BREAK_S
            return
        self._open_until = None
        self._slices.clear()
        self._calls = self._failures = 0.0

    def _count(self, failed: bool, now: float) -> None:
        if not self._slices or now - self._slices[-1][0] >= _SLICE_S:
            self._slices.append([now, 0.0, 0.0])
        while now - self._slices[0][0] >= _SAMPLING_S:
            _, calls, failures = self._slices.popleft()
            self._calls -= calls
            self._failures -= failures
        self._slices[-1][1] += 1
        self._slices[-1][2] += failed
        self._calls += 1
        self._failures += failed
