"""The health of one scope: evidence in, state out.

Rules of this file:
- Evidence is the only thing that moves the state; time is an argument (Unix seconds that never
  go back).
- `_NEXT` says what leads where; a signal without an entry changes nothing.
- `suspicion` decides when an outage begins, `recovery` when it ends.
- What a request says that began before the state did, says nothing about the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

from fallback.core.health.chronicle import UNUSED_S, Chronicle, Gate
from fallback.core.health.evidence import Evidence
from fallback.core.health.recovery import Recovery
from fallback.core.health.scope import Scope
from fallback.core.health.settings import HealthSettings
from fallback.core.health.state import Change, State
from fallback.core.health.suspicion import Suspicion

_Signal: TypeAlias = Literal["bad", "worse", "calm", "alive", "good"]

_NEXT: dict[tuple[State, _Signal], State] = {
    (State.HEALTHY, "bad"): State.SUSPECT,
    (State.HEALTHY, "worse"): State.DOWN,
    (State.SUSPECT, "worse"): State.DOWN,
    (State.SUSPECT, "calm"): State.HEALTHY,
    (State.DOWN, "alive"): State.RECOVERING,
    (State.DOWN, "good"): State.RECOVERING,
    (State.RECOVERING, "good"): State.HEALTHY,
    (State.RECOVERING, "worse"): State.DOWN,
}

_REASONS = 16
_UNREACHABLE = "unreachable-"
_EDGE_FAULTS = (_UNREACHABLE, "invalid-")


class Detector(Chronicle):
    """An upstream or one of its model families. Not thread-safe; owned by the event loop.

    `like` is the detector of the wider scope: what is known of that is taken for granted.
    """

    def __init__(
        self,
        scope: Scope,
        settings: HealthSettings,
        *,
        now: float,
        on_change: Callable[[Change], None] = lambda change: None,
        like: Detector | None = None,
    ) -> None:
        super().__init__(scope, now=now, on_change=on_change)
        self.suspicion: Suspicion = Suspicion(
            settings, now=now, like=like.suspicion if like else None
        )
        self.recovery = Recovery(settings)
        self.reasons: dict[str, int] = {}
        self.ok_at = self._accused_at = self._heard_at = now
        self.ok_family = ""

    def __repr__(self) -> str:
        score = self.suspicion.score(self.since)
        return f"<Detector {self.scope} {self.state.value} score={score:.2f}>"

    def score(self, now: float) -> float:
        return self.suspicion.score(now)

    # -- who may pass --------------------------------------------------------------------------

    def gate(self, now: float, *, infers: bool = True) -> Gate:
        """May a request pass? Only one that infers can be a canary: no other can prove that
        inference is back. The others need no more than the edge: they pass once that is back,
        or who never asks for anything else would be kept out for ever."""
        if self.state in (State.HEALTHY, State.SUSPECT):
            return "open"
        if not infers:
            return "open" if self.state is State.RECOVERING else "closed"
        self.recovery.ask()
        if self.state is State.RECOVERING and self.recovery.may_pass():
            return "open"
        return "canary" if self.recovery.may_try(now) else "closed"

    def enter(self, gate: Gate, now: float) -> int:
        """A request passes that gate: the lease of a canary, else 0."""
        if gate == "canary":
            return self.recovery.lease(now)
        if self.state is State.RECOVERING:
            self.recovery.pass_one()
        return 0

    def estimate_s(self, now: float) -> float:
        """An honest guess when to come again."""
        return self.recovery.estimate_s(now)

    # -- what was seen -------------------------------------------------------------------------

    def succeeded(self, evidence: Evidence, now: float, *, began: float) -> None:
        """A request that began then was answered well."""
        if self.state in (State.HEALTHY, State.SUSPECT):
            self.suspicion.succeeded(now)
            if self.suspicion.quiet:
                self._signal("calm", evidence, now)
        elif began >= self.since:
            proven = self.recovery.succeeded(now)
            if self.state is State.DOWN:
                self._signal("good", evidence, now)
            if proven:
                self._signal("good", evidence, now)

    def is_unused(self, now: float) -> bool:
        """Nothing was held against it for so long that nobody seems to ask for it."""
        return now - max(self._heard_at, self.ok_at) > UNUSED_S

    def failed(
        self, evidence: Evidence, now: float, *, began: float, retry_after_s: float | None = None
    ) -> None:
        """Evidence against the scope."""
        self._heard_at = now
        self._note_edge(evidence)
        if self.state in (State.HEALTHY, State.SUSPECT):
            if began >= self.recovery.returned_at:
                self._suspect(evidence, now, began)
        elif began >= self.since:
            self._count(evidence)
            self._fall_back(evidence, now)
            if evidence.source == "request" and self.state is State.DOWN:
                self.recovery.put_off(now, cost_s=now - began, asked_for_s=retry_after_s or 0.0)

    def answered(self, evidence: Evidence, now: float) -> None:
        """A sign of life that proves only the edge: it is news where the edge was dead."""
        news = self.recovery.edge is False
        if self.state is not State.HEALTHY:
            self.recovery.edge = True
        if self.state is State.DOWN and news:
            self.recovery.edge_returned(now)
            self._signal("alive", evidence, now)
        elif self.state is State.SUSPECT:
            if news:
                self.suspicion.answered(now)
            if not self.suspicion.is_strong(now):
                self._signal("calm", evidence, now)

    def absolve(self, evidence: Evidence, now: float) -> None:
        """All that was held against it has another cause."""
        self.suspicion.clear(now)
        if self.state is not State.HEALTHY:
            self._move(State.HEALTHY, evidence, now)
            self.suspicion.clear(now)

    @property
    def only_unreachable(self) -> bool:
        """Nothing is held against it but that it was not reached."""
        return bool(self.reasons) and all(r.startswith(_UNREACHABLE) for r in self.reasons)

    def is_alone_beside(self, upstream: Detector) -> bool:
        """Whether this model has only failed since its first failure, while another succeeded."""
        others_succeed = upstream.ok_family != self.scope.name
        return others_succeed and self.ok_at <= self._accused_at < upstream.ok_at

    # -- the fold ------------------------------------------------------------------------------

    def _suspect(self, evidence: Evidence, now: float, began: float) -> None:
        if self.suspicion.quiet:
            self.reasons = {}
            self._accused_at = now
        self._count(evidence)
        self.suspicion.failed(evidence, now, began=began)
        signal: _Signal | None = "bad" if self.suspicion.is_strong(now) else None
        if self.suspicion.is_enough(now):
            signal = "worse"
        if not self._signal(signal, evidence, now):
            self._remark(now, evidence.summary)

    def _fall_back(self, evidence: Evidence, now: float) -> None:
        """A canary's failure or a dead edge ends the return at once, the ramp bears a few."""
        canary = evidence.source == "request" and not self.recovery.proven
        if canary or evidence.source == "probe" or self.recovery.failed():
            self._signal("worse", evidence, now)

    def _note_edge(self, evidence: Evidence) -> None:
        guess = self.recovery.edge is None and evidence.reason.startswith(_EDGE_FAULTS)
        if self.scope.kind == "upstream" and (guess or evidence.source == "probe"):
            self.recovery.edge = False

    def _count(self, evidence: Evidence) -> None:
        reason = evidence.reason or evidence.summary
        if reason in self.reasons or len(self.reasons) < _REASONS:
            self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def _signal(self, signal: _Signal | None, evidence: Evidence, now: float) -> bool:
        target = _NEXT.get((self.state, signal)) if signal else None
        if target is not None:
            self._move(target, evidence, now)
        return target is not None

    def _move(self, target: State, evidence: Evidence, now: float) -> None:
        if target is State.DOWN:
            self._go_down(now)
        if target is State.HEALTHY:
            self._come_back(now)
        self._turn(target, evidence, now)

    def _go_down(self, now: float) -> None:
        self.suspicion.clear(now)
        if self.state is State.RECOVERING and not self.recovery.proven:
            self.recovery.put_off(now)
        else:
            self.recovery.fell(now)

    def _come_back(self, now: float) -> None:
        self.reasons = {}
        self.recovery.edge = None
        if self.state is State.RECOVERING:
            self.recovery.returned(now)
            self.suspicion.distrust(now)
        else:
            self.suspicion.acquit(now)
