"""What no request needs to try out: this machine's network, and a client's credential.

A few pieces of evidence are enough, and one sign of life ends it.
"""

from __future__ import annotations

from collections.abc import Callable

from fallback.core.health.chronicle import UNUSED_S, Chronicle, Gate
from fallback.core.health.evidence import Evidence
from fallback.core.health.scope import Scope
from fallback.core.health.state import Change, State

_HALF_LIFE_S = 900.0
# The ladder has looked from all sides; one refused key may be a slip.
_ENOUGH = {"network": 3.0, "credential": 6.0}
_SILENCE_S = 30.0


class Latch(Chronicle):
    """The health of one such scope: healthy, suspect or down."""

    def __init__(self, scope: Scope, *, now: float, on_change: Callable[[Change], None]) -> None:
        super().__init__(scope, now=now, on_change=on_change)
        self._enough = _ENOUGH[scope.kind]
        self._score = 0.0
        self._at = now
        self._tried_at = now

    def score(self, now: float) -> float:
        faded = self._score * float(2.0 ** (-max(0.0, now - self._at) / _HALF_LIFE_S))
        return min(1.0, faded / self._enough)

    def gate(self, now: float, *, infers: bool = True) -> Gate:
        """Where the ladder is silent, a request may look for itself now and then."""
        if self.state is not State.DOWN:
            return "open"
        return "canary" if now - max(self._at, self._tried_at) >= _SILENCE_S else "closed"

    def enter(self, gate: Gate, now: float) -> int:
        """A request passes that gate; another may look only after a while."""
        if gate == "canary":
            self._tried_at = now
        return 0

    def estimate_s(self, now: float) -> float:
        """An honest guess when to come again."""
        return _SILENCE_S / 2

    def failed(
        self, evidence: Evidence, now: float, *, began: float, retry_after_s: float | None = None
    ) -> None:
        """Evidence against it."""
        self._score, self._at = self.score(now) * self._enough + evidence.weight, now
        target = State.DOWN if self._score >= self._enough else State.SUSPECT
        if self.state is not State.DOWN and target is not self.state:
            self._turn(target, evidence, now)

    def answered(self, evidence: Evidence, now: float) -> None:
        """It works."""
        self._score = 0.0
        if self.state is not State.HEALTHY:
            self._turn(State.HEALTHY, evidence, now)

    def is_unused(self, now: float) -> bool:
        """Nothing was heard of it for so long that it is of no use to anybody."""
        return now - self._at > UNUSED_S

    def absolve(self, evidence: Evidence, now: float) -> None:
        """What was held against it counts no more."""
        self.answered(evidence, now)
