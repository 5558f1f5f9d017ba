"""When somebody may try whether an upstream is back, and how many may follow.

Rules of this file:
- One canary at a time, with a lease, so that a lost one never blocks the return.
- Where the edge was seen dead, its first answer is the news to wait for; canaries without it are
  rare, for edges that never answer a probe. Where the edge lived all the while, canaries come at
  intervals that grow with the outage's age, and with what the last one cost: what lasted long
  will last for a while, and nobody should wait in vain for more than a twentieth of the time.
- After the first success come permits, more with each further success (slow start), until as
  many have succeeded as are asked in a moment.
- An upstream that fails again soon after its return is held back, twice as long each time.

Source of the slow start: V. Jacobson, "Congestion avoidance and control" (1988).
"""

from __future__ import annotations

import math

from fallback.core.health.settings import HealthSettings

_AGE_SHARE = 0.01
_PER_COST = 20.0
_BLIND_SHARE, _BLIND_FIRST_S, _BLIND_CAP_S = 0.2, 100.0, 300.0
_ESTIMATE_SHARE = 0.2
_RETRY_AFTER_CAP_S = 30.0
_DEMAND_S = 10.0
_PROOF_S = 1.0
_MOST_PROOFS = 16
_PERMITS = 4
_ESTIMATE_S = (1.0, 120.0)
_MOST_DOUBLINGS = 16


class Recovery:
    """The way back of one scope; times are Unix seconds. `edge`: whether it was last seen alive;
    None: it is not known."""

    __slots__ = (
        "_asked", "_began", "_failures", "_held_until", "_lease", "_lease_until", "_permits",
        "_settings", "_successes", "canary_at", "edge", "relapses", "returned_at",
    )  # fmt: skip

    def __init__(self, settings: HealthSettings) -> None:
        self._settings = settings
        self._began = self._held_until = self.canary_at = 0.0
        self.returned_at = self._lease_until = -math.inf
        self._asked = self._lease = self._permits = self._successes = self._failures = 0
        self.relapses = 0
        self.edge: bool | None = None

    # -- what happens to the scope -------------------------------------------------------------

    def fell(self, now: float) -> None:
        """The scope went down."""
        settings = self._settings
        flaps = self._successes > 0 or now - self.returned_at < settings.forgiven_s
        self.relapses = min(self.relapses + 1, _MOST_DOUBLINGS) if flaps else 0
        hold_s = min(settings.hold_cap_s, settings.hold_first_s * 2.0 ** (self.relapses - 1))
        self._held_until = now + hold_s if flaps else now
        self._began = now
        self._asked = 0
        self.put_off(now)

    def put_off(self, now: float, *, cost_s: float = 0.0, asked_for_s: float = 0.0) -> None:
        """A request failed after `cost_s`; its upstream asked to be left alone for some time."""
        self._held_until = max(self._held_until, now + min(asked_for_s, _RETRY_AFTER_CAP_S))
        self.canary_at = max(now + self._gap_s(now, cost_s), self._held_until)
        self._restart()

    def _gap_s(self, now: float, cost_s: float) -> float:
        settings, age = self._settings, now - self._began
        if self.edge is False:
            return min(_BLIND_CAP_S, max(_BLIND_FIRST_S, _BLIND_SHARE * age))
        wanted = max(settings.canary_first_s, _AGE_SHARE * age, _PER_COST * cost_s)
        return min(settings.canary_cap_s, wanted)

    def edge_returned(self, now: float) -> None:
        """What may have brought it down is over."""
        self.canary_at = max(now, self._held_until)
        self._restart()

    def returned(self, now: float) -> None:
        """The scope is healthy again."""
        self.returned_at = now
        self._restart()

    @property
    def proven(self) -> bool:
        """A request succeeded since it came back."""
        return self._successes > 0

    # -- who may pass --------------------------------------------------------------------------

    def ask(self) -> None:
        """A request would like to pass: the demand tells how many successes prove anything."""
        self._asked += 1

    def may_try(self, now: float) -> bool:
        """Whether the next request may be a canary."""
        return now >= self.canary_at and now >= self._lease_until

    def may_pass(self) -> bool:
        """Whether the ramp has room."""
        return self._permits > 0

    def pass_one(self) -> None:
        self._permits -= 1

    def lease(self, now: float) -> int:
        """Take the one lease there is."""
        self._lease += 1
        self._lease_until = now + self._settings.canary_lease_s
        return self._lease

    def release(self, lease: int) -> None:
        """That canary ended without evidence, unless its lease had run out before."""
        if lease == self._lease:
            self._lease_until = -math.inf

    # -- what came of it -----------------------------------------------------------------------

    def succeeded(self, now: float) -> bool:
        """One request was answered well; True if so many were that all may pass."""
        self._lease_until = -math.inf
        self._successes += 1
        self._permits += _PERMITS
        demand = self._asked / max(_DEMAND_S, now - self._began)
        return self._successes >= max(1, min(_MOST_PROOFS, round(demand * _PROOF_S)))

    def failed(self) -> bool:
        """One request of the ramp failed; True if too many did to go on."""
        self._failures += 1
        return self._failures > max(1, self._successes // 2)

    def estimate_s(self, now: float) -> float:
        """An honest guess when to come again."""
        least, most = _ESTIMATE_S
        guess = max(_ESTIMATE_SHARE * (now - self._began), self._held_until - now)
        if self.edge is not False:
            guess = min(guess, max(self.canary_at, self._lease_until) - now)
        return min(most, max(least, guess))

    def _restart(self) -> None:
        self._lease_until = -math.inf
        self._permits = self._successes = self._failures = 0
