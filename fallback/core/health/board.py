"""All scopes together: who may pass, and what each outcome says about which of them.

While all is well nothing is allocated and nothing but a counter changes.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import msgspec

from fallback.core.health.admission import OPEN, Admission, admission_by
from fallback.core.health.detector import Detector
from fallback.core.health.evidence import Case, Evidence, answers, evidence_of
from fallback.core.health.explain import explain
from fallback.core.health.latch import Latch
from fallback.core.health.registry import Registry
from fallback.core.health.scope import Scope
from fallback.core.health.settings import HealthSettings
from fallback.core.health.state import Change, HealthView, State
from fallback.core.health.until import Until
from fallback.core.outcome import Outcome, Verdict

_POISON_S = 600.0
_PROBE_AGE_SHARE = 0.02
_ALIVE_EDGE_FACTOR = 5.0
_SEVERITY = {State.HEALTHY: 0, State.SUSPECT: 1, State.RECOVERING: 2, State.DOWN: 3}


class Board:
    """The health of `upstreams`, their models and keys, and of the network.

    `on_change` hears of every change of state, at once; `on_evidence` before it of all that
    speaks against a scope, and of what is told of an unwell one. The upstreams in `loopback` do
    not need the network.
    """

    def __init__(
        self,
        upstreams: Iterable[str],
        settings: HealthSettings,
        *,
        now: float,
        on_change: Callable[[Change], None] = lambda change: None,
        on_evidence: Callable[[Evidence, float], None] = lambda evidence, now: None,
        loopback: Container[str] = (),
    ) -> None:
        self._settings = settings
        self._on_evidence = on_evidence
        self._started = now
        self._scopes = Registry(
            upstreams, settings, now=now, on_change=on_change, loopback=loopback
        )
        self._unwell = self._scopes.unwell
        self._held = Until()
        self._poison = Until()

    # -- who may pass --------------------------------------------------------------------------

    def admit(self, case: Case, now: float) -> Admission:
        """The healthy path's question. A canary takes its lease."""
        if not self._unwell and not self._held.holds_any(now):
            return OPEN
        held_s = self._held.left_s(_holder(case), now)
        gates = [(j, j.gate(now, infers=case.infers)) for j in self._scopes.judges(case)]
        for wanted in ("closed", "canary"):
            for judge, gate in gates:
                if gate == wanted:
                    return admission_by(judge, gate, now, held_s)
        if case.infers:
            for judge, gate in gates:
                judge.enter(gate, now)
        worst = max((judge for judge, _ in gates), key=lambda judge: _SEVERITY[judge.state])
        if worst.state is State.HEALTHY and not held_s:
            return OPEN
        return admission_by(worst, "open", now, held_s)

    def release(self, admission: Admission, now: float) -> None:
        """The request behind a canary ended without evidence."""
        if admission.lease and admission.scope is not None:
            judge = self._scopes.find(admission.scope)
            if isinstance(judge, Detector):
                judge.recovery.release(admission.lease)

    # -- what is learned -----------------------------------------------------------------------

    def learn(
        self,
        case: Case,
        outcome: Outcome,
        now: float,
        *,
        fingerprint: Callable[[], str] | None = None,
    ) -> None:
        """Fold the outcome of a request in. `fingerprint` is of the request's body: what is
        answered with a 500 again and again is a poison request, and no evidence."""
        if outcome.verdict is Verdict.SUCCESS and case.infers:
            self.count(case, now)
            if not self._unwell:
                return
        if outcome.facts.retry_after_s and outcome.verdict is Verdict.RATE_LIMITED:
            self._held.put(_holder(case), now + outcome.facts.retry_after_s)
        if not self._is_poison(case, outcome, fingerprint, now):
            self._learn_carefully(case, outcome, now)

    def is_calm(self, case: Case) -> bool:
        """Whether a success would only be counted: nothing is unwell, and nothing held against
        its upstream or model."""
        upstream, model = self._scopes.upstreams[case.upstream], self._scopes.model(case)
        quiet = upstream.suspicion.quiet and (model is None or model.suspicion.quiet)
        return quiet and not self._unwell

    def count(self, case: Case, now: float, *, successes: int = 1) -> None:
        """So many requests were answered well, the last one now; several only while calm."""
        upstream, model = self._scopes.upstreams[case.upstream], self._scopes.model(case)
        upstream.ok_at, upstream.ok_family = now, case.family
        if model is not None:
            model.ok_at = now
        if not self._unwell:
            upstream.suspicion.succeeded(now, times=successes)
            if model is not None:
                model.suspicion.succeeded(now, times=successes)

    def _learn_carefully(self, case: Case, outcome: Outcome, now: float) -> None:
        self._scopes.forget(now)
        pieces = evidence_of(case, outcome)
        if outcome.weight > 0:
            pieces = self._narrowed(case, pieces)
        if answers(outcome):
            self._reached(case.upstream, pieces[0], now)
        if outcome.verdict is Verdict.SUCCESS and (key := self._scopes.key(case)) is not None:
            key.answered(pieces[0], now)
        began = now - outcome.facts.duration_s
        for evidence in pieces:
            self._fold(evidence, now, began=began, retry_after_s=outcome.facts.retry_after_s)

    def _narrowed(self, case: Case, pieces: tuple[Evidence, ...]) -> tuple[Evidence, ...]:
        """Evidence about an upstream and one of its models -> about the one that it is."""
        upstream, model = self._scopes.upstreams[case.upstream], self._scopes.model(case)
        whole = pieces[0]
        if upstream.state in (State.DOWN, State.RECOVERING):
            return (msgspec.structs.replace(whole, scope=upstream.scope),)
        if len(pieces) > 1 and model is not None and model.is_alone_beside(upstream):
            return (msgspec.structs.replace(whole, scope=model.scope),)
        return pieces

    def begun(self, case: Case, now: float, *, started: float) -> None:
        """The first content of a request that started then has come: who waits for a sign of
        its upstream's return need not wait for the answer's end."""
        if not self._unwell or not case.infers:
            return
        for judge in self._scopes.judges(case):
            if isinstance(judge, Detector) and judge.state in (State.DOWN, State.RECOVERING):
                evidence = Evidence(
                    scope=judge.scope,
                    source="request",
                    weight=-1.0,
                    summary="first content has come",
                    reason="content",
                )
                judge.succeeded(evidence, now, began=started)

    def record(self, evidence: Evidence, now: float) -> None:
        """Fold in what a signal says."""
        if evidence.alive and evidence.scope.kind == "upstream":
            self._reached(evidence.scope.upstream, evidence, now)
        self._fold(evidence, now, began=now)

    def _fold(
        self, evidence: Evidence, now: float, *, began: float, retry_after_s: float | None = None
    ) -> None:
        if self._scopes.has_wider_cause(evidence):
            return
        judge = self._scopes.find(evidence.scope)
        if judge is None and evidence.weight > 0:
            judge = self._scopes.add(evidence, now)
        if judge is None:
            return
        if evidence.weight > 0 or judge.outage is not None:
            self._on_evidence(evidence, now)
        if evidence.weight > 0:
            judge.failed(evidence, now, began=began, retry_after_s=retry_after_s)
        elif evidence.weight == 0.0 or isinstance(judge, Latch):
            judge.answered(evidence, now)
        else:
            judge.succeeded(evidence, now, began=began)

    def _reached(self, upstream: str, evidence: Evidence, now: float) -> None:
        """A provider spoke, so there is a network."""
        if self._scopes.needs_network(upstream):
            self._scopes.network.answered(evidence, now)

    def _is_poison(
        self, case: Case, outcome: Outcome, fingerprint: Callable[[], str] | None, now: float
    ) -> bool:
        if fingerprint is None or not outcome.reason.endswith("-500"):
            return False
        key = (case.upstream, fingerprint())
        known = self._poison.left_s(key, now) > 0
        self._poison.put(key, now + _POISON_S)
        return known

    # -- what is told --------------------------------------------------------------------------

    def state(self, upstream: str) -> State:
        """Of the network and the upstream itself, the worse."""
        own = self._scopes.upstreams[upstream].state
        if not self._scopes.needs_network(upstream):
            return own
        return max(own, self._scopes.network.state, key=_SEVERITY.__getitem__)

    def unwell(self) -> list[Scope]:
        """All scopes that are not healthy, in the order of their names."""
        return sorted(self._unwell, key=str)

    def view(self, scope: Scope, now: float) -> HealthView:
        """Healthy, where nothing was ever held against it."""
        judge = self._scopes.find(scope)
        if judge is None:
            return HealthView(
                state=State.HEALTHY, since=self._started, outage=None, score=0.0, story=()
            )
        return judge.view(now)

    def views(self, now: float) -> dict[str, HealthView]:
        """By the scope's name: the network, all upstreams, and what else was ever unwell."""
        return {str(judge.scope): judge.view(now) for judge in self._scopes}

    def explain(self, scope: Scope, now: float) -> tuple[str, ...]:
        """Why a scope is in its state and what comes next, in plain words."""
        return explain(scope, self._scopes.find(scope), now)

    def outage_of(self, upstream: str, family: str = "") -> str | None:
        """The id that tags answers now: of the widest scope that is unwell."""
        if not self._unwell:
            return None
        case = Case(upstream=upstream, family=family)
        judges = self._scopes.judges(case)
        return next((judge.outage for judge in judges if judge.outage is not None), None)

    def probe_delay_s(self, upstream: str, now: float, jitter: float) -> float:
        """Seconds until the next free probe: a fiftieth of the outage's age, longer where the
        edge lives and only a request can tell; equal jitter with `jitter` in [0, 1).

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
        """
        detector, network = self._scopes.upstreams[upstream], self._scopes.network
        since = network.since if network.state is State.DOWN else detector.outage_since
        first = self._settings.probe_first_s
        if detector.recovery.edge:
            first *= _ALIVE_EDGE_FACTOR
        ceiling = min(self._settings.probe_cap_s, max(first, _PROBE_AGE_SHARE * (now - since)))
        return ceiling / 2 + jitter * ceiling / 2


def _holder(case: Case) -> tuple[str, str, str]:
    return case.upstream, case.credential, case.family
