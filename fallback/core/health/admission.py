"""The answer to a request that asks whether it may go to its upstream."""

from __future__ import annotations

import math

import msgspec

from fallback.core.health.chronicle import Gate
from fallback.core.health.registry import Judge
from fallback.core.health.scope import Scope
from fallback.core.health.state import State


class Admission(msgspec.Struct, frozen=True, kw_only=True):
    """May a request go to its upstream? `scope` is the one that closed it or that the canary
    is for, else the worst; `retry_after_s` an honest guess when to come again. `held_s` > 0: this
    credential may not ask for this family before so many seconds."""

    kind: Gate
    state: State = State.HEALTHY
    scope: Scope | None = None
    outage: str | None = None
    since: float | None = None
    retry_after_s: int | None = None
    lease: int = 0
    held_s: float = 0.0

    @property
    def reason(self) -> str:
        """A stable token for provenance: why not, or why with care; "ok" otherwise."""
        if self.kind == "open":
            return "rate-limited" if self.held_s > 0 else "ok"
        if self.state is State.RECOVERING or self.kind == "canary" or self.scope is None:
            return "recovering"
        return f"{self.scope.kind}-down"


OPEN = Admission(kind="open")


def admission_by(judge: Judge, gate: Gate, now: float, held_s: float) -> Admission:
    """As this judge has it; a canary takes the lease with it."""
    return Admission(
        kind=gate,
        state=judge.state,
        scope=judge.scope,
        outage=judge.outage,
        since=judge.outage_since if judge.outage else None,
        retry_after_s=math.ceil(judge.estimate_s(now)) if gate == "closed" else None,
        lease=judge.enter(gate, now) if gate == "canary" else 0,
        held_s=held_s,
    )
