"""The world outside, at every instant: what a request and a free probe would meet.

Pure: the draws that decide between possibilities come with the request, so that every rule
meets the same world whatever it does.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable

import msgspec

from fallback.core.outcome import AttemptFacts, Failure

FAMILIES = ("large", "small")


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What a request meets instead of an answer, and after how many seconds it is known: at
    infinity only the caller's own deadline ends it."""

    facts: AttemptFacts
    after_s: float


def refused() -> Fault:
    facts = AttemptFacts(phase="connect", failure=Failure.REFUSED)
    return Fault(facts=facts, after_s=0.05)


def unresolved() -> Fault:
    """The name server is out of reach, as on a laptop that lost its Wi-Fi."""
    return Fault(facts=AttemptFacts(phase="connect", failure=Failure.DNS), after_s=0.05)


def reset() -> Fault:
    return Fault(facts=AttemptFacts(phase="headers", failure=Failure.RESET), after_s=0.1)


def silence() -> Fault:
    facts = AttemptFacts(phase="headers", failure=Failure.TIMEOUT)
    return Fault(facts=facts, after_s=math.inf)


def status(code: int, error_type: str | None = None) -> Fault:
    return Fault(facts=AttemptFacts(phase="done", status=code, error_type=error_type), after_s=0.3)


def rate_limited(retry_after_s: float) -> Fault:
    facts = AttemptFacts(
        phase="done", status=429, error_type="rate_limit_error", retry_after_s=retry_after_s
    )
    return Fault(facts=facts, after_s=0.3)


def overloaded() -> Fault:
    return status(529, "overloaded_error")


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How an upstream answers for a while.

    `faults` are (probability, fault); what is left is served, with a time to first content
    that is lognormal around `ttft_s`. `probe` is what the free request to the edge meets
    (None: a JSON answer), `online` whether a control host beside it can be reached.
    """

    faults: tuple[tuple[float, Fault], ...] = ()
    ttft_s: float = 0.8
    spread: float = 0.35
    probe: Fault | None = None
    online: bool = True

    def meets(self, chance: float, normal: float) -> Fault | float:
        """A fault, or the seconds to the first content. `chance` is uniform in [0, 1),
        `normal` standard normal."""
        for probability, fault in self.faults:
            if chance < probability:
                return fault
            chance -= probability
        return self.ttft_s * math.exp(self.spread * normal)


WELL = Condition()


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A condition from `start` to `end` (seconds), of some model families or of all, met with
    some credentials or with all."""

    start: float
    end: float
    condition: Condition
    families: tuple[str, ...] = FAMILIES


class World:
    """Phases that do not overlap within a family; between them `usual` holds."""

    def __init__(self, phases: Iterable[Phase], usual: Condition = WELL) -> None:
        self._changes: dict[str, list[float]] = {family: [-math.inf] for family in FAMILIES}
        self._conditions: dict[str, list[Condition]] = {family: [usual] for family in FAMILIES}
        for phase in sorted(phases, key=lambda phase: phase.start):
            for family in phase.families:
                self._add(family, phase, usual)

    def _add(self, family: str, phase: Phase, usual: Condition) -> None:
        changes, conditions = self._changes[family], self._conditions[family]
        assert phase.start >= changes[-1], "phases of one family overlap"
        if phase.start == changes[-1]:
            conditions[-1] = phase.condition
        else:
            changes.append(phase.start)
            conditions.append(phase.condition)
        changes.append(phase.end)
        conditions.append(usual)

    def condition(self, family: str, now: float) -> Condition:
        return self._conditions[family][bisect_right(self._changes[family], now) - 1]
