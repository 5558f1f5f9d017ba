"""LiteLLM 1.8x, the Router's cooldowns with their defaults.

Source: `router_utils/cooldown_handlers.py`, `constants.py` and
https://docs.litellm.ai/docs/router/learn/reliability: a deployment cools down for 5 s (or the
answer's Retry-After) on a 429, on a 401 or 404, and where more than half of at least 5 requests
of the current minute failed. Connection errors never count (`APIConnectionError`), timeouts do,
as 408. A deployment is one model. The local tier stands for a second deployment of the same
group, by `order`: a deployment that is alone in its group would hardly ever cool down, so this is
the setup that serves LiteLLM best. Its own retries (2) are left out, to its advantage as well.
"""

from __future__ import annotations

import math

from fallback.core.outcome import AttemptFacts, Failure
from outage_sim.rules.base import OPEN, Peer, Ticket, succeeded
from outage_sim.traffic import Call
from outage_sim.world import FAMILIES

_COOLDOWN_S = 5.0
_MINUTE_S = 60.0
_SHARE = 0.5
_REQUESTS = 5
_AT_ONCE = (429, 401, 404)


class _Minute:
    """Counts anew when the minute since its first count is over."""

    def __init__(self) -> None:
        self._ends = -math.inf
        self.failures = self.total = 0

    def add(self, *, failed: bool, now: float) -> None:
        if now >= self._ends:
            self._ends = now + _MINUTE_S
            self.failures = self.total = 0
        self.failures += failed
        self.total += 1


class LiteLLM(Peer):
    name = "LiteLLM"

    def __init__(self) -> None:
        self._cold_until = dict.fromkeys(FAMILIES, -math.inf)
        self._minutes = {family: _Minute() for family in FAMILIES}

    def admit(self, call: Call, now: float) -> Ticket | None:
        return None if self.closed(call.family, now) else OPEN

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None:
        minute = self._minutes[call.family]
        minute.add(failed=not succeeded(facts), now=now)
        if succeeded(facts) or _is_ignored(facts):
            return
        often = minute.total >= _REQUESTS and minute.failures > _SHARE * minute.total
        if facts.status in _AT_ONCE or often:
            self._cold_until[call.family] = now + (facts.retry_after_s or _COOLDOWN_S)

    def closed(self, family: str, now: float) -> bool:
        return now < self._cold_until[family]


def _is_ignored(facts: AttemptFacts) -> bool:
    status = facts.status or 0
    if facts.failure is not None:
        return facts.failure is not Failure.TIMEOUT
    return 400 <= status < 500 and status not in _AT_ONCE
