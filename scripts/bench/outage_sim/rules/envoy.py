"""Envoy, outlier detection with its defaults.

Source: https://www.envoyproxy.io/docs/envoy/v1.30.4/api-v3/config/cluster/v3/outlier_detection.proto:
5 consecutive 5xx (failures without an answer count as such) eject the host; a sweep every 10 s
lets it back when 30 s times the number of consecutive ejections have passed, at most 300 s;
every sweep that finds it in service takes one off that number. Success rates need five hosts,
gateway failures are not enforced. The local tier stands for a cluster of lower priority, so
that no panic sends requests to the ejected host.
"""

from __future__ import annotations

from fallback.core.outcome import AttemptFacts
from outage_sim.rules.base import OPEN, Peer, Ticket, is_server_error
from outage_sim.traffic import Call

_CONSECUTIVE = 5
_INTERVAL_S = 10.0
_BASE_S = 30.0
_MAX_S = 300.0


class Envoy(Peer):
    name = "Envoy"

    def __init__(self, *, started: float) -> None:
        self._swept = started
        self._consecutive = 0
        self._ejections = 0
        self._ejected_at: float | None = None

    def admit(self, call: Call, now: float) -> Ticket | None:
        self._sweep(now)
        return OPEN if self._ejected_at is None else None

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None:
        self._sweep(now)
        self._consecutive = self._consecutive + 1 if is_server_error(facts) else 0
        if self._consecutive >= _CONSECUTIVE and self._ejected_at is None:
            self._consecutive = 0
            self._ejections += 1
            self._ejected_at = now

    def closed(self, family: str, now: float) -> bool:
        self._sweep(now)
        return self._ejected_at is not None

    def idle(self, call: Call, now: float) -> bool:
        self._sweep(now)
        return self._ejected_at is None and self._consecutive == self._ejections == 0

    def _sweep(self, now: float) -> None:
        while self._swept + _INTERVAL_S <= now:
            self._swept += _INTERVAL_S
            if self._ejected_at is None:
                self._ejections = max(0, self._ejections - 1)
            elif self._swept >= self._ejected_at + min(_MAX_S, _BASE_S * self._ejections):
                self._ejected_at = None
