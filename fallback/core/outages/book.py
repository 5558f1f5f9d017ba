"""Changes of health, evidence and finished requests in, records of outages out.

Rules of this file:
- Pure; time is an argument. A record is replaced, never changed, so that whoever holds one may
  write it elsewhere at leisure.
- Bounded: the outages that are on, the last hundred that ended, and the evidence and failed
  requests of the last minutes, since an outage begins with what led to it.
- While all is well a finished request costs a few comparisons.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import msgspec

from fallback.core.health import Change, Evidence, Scope, State, upstream_scope
from fallback.core.outages.counting import with_request
from fallback.core.outages.record import EvidenceLine, Outage, Transition, plain
from fallback.core.record import FinishedRequest

_ENDED = 100
_LEAD = 64
_LEAD_S = 300.0
_WIDER = ("network", "upstream")
_SEVERITY = (State.HEALTHY, State.SUSPECT, State.RECOVERING, State.DOWN)


class OutageBook:
    """`endpoints` are the base URLs of the upstreams by name; `software` says who measures.
    Not thread-safe; owned by the event loop."""

    def __init__(self, endpoints: Mapping[str, str], *, software: str) -> None:
        self._endpoints = endpoints
        self._software = software
        self._active: dict[str, Outage] = {}
        self._ended: dict[str, Outage] = {}
        self._evidence: deque[tuple[float, Evidence]] = deque(maxlen=_LEAD)
        self._requests: deque[tuple[float, FinishedRequest]] = deque(maxlen=_LEAD)
        self._last_end = 0.0

    @property
    def active(self) -> tuple[Outage, ...]:
        """Those that are on, as they stand."""
        return tuple(self._active.values())

    @property
    def known(self) -> tuple[Outage, ...]:
        """All in memory, mere suspicions too, in the order of their ends and beginnings."""
        return (*self._ended.values(), *self._active.values())

    def find(self, outage_id: str) -> Outage | None:
        return self._active.get(outage_id) or self._ended.get(outage_id)

    def changed(self, change: Change) -> Outage | None:
        """A scope changed its state; the outage that it belongs to as it stands now."""
        outage_id = change.ended or change.outage
        if outage_id is None:
            return None
        # Ids tell seconds: one that ends and begins anew within one goes on.
        known = self._active.pop(outage_id, None) or self._ended.pop(outage_id, None)
        after = _changed(known or self._opened(outage_id, change), change)
        if change.ended is None:
            self._active[outage_id] = after
            return after
        after = msgspec.structs.replace(after, ended=change.at, cause=self._cause(after, change))
        self._end(after)
        return after

    def noticed(self, evidence: Evidence, now: float) -> None:
        """A piece of evidence came in; call it before the change that it may bring about."""
        for outage in self.active:
            if outage.scope == evidence.scope:
                self._active[outage.id] = _with_evidence(outage, evidence, now)
                return
        self._evidence.append((now, evidence))

    def finished(self, record: FinishedRequest, now: float) -> tuple[Outage, ...]:
        """A request ended; the outages that it concerned, with it counted."""
        failed = _has_failed(record)
        calm = not self._active and record.started > self._last_end
        if calm and not failed and record.provenance.outage is None:
            return ()
        if failed:
            self._requests.append((now, record))
        counted = [(o, with_request(o, record)) for o in self._concerned(record)]
        touched = tuple(after for before, after in counted if after is not before)
        for outage in touched:
            (self._active if outage.id in self._active else self._ended)[outage.id] = outage
        return touched

    def watched(self, now: float) -> tuple[Outage, ...]:
        """The service still watches: the outages that are on, with their time brought up."""
        self._active = {key: _until(outage, now) for key, outage in self._active.items()}
        return self.active

    def stopped(self, now: float) -> tuple[Outage, ...]:
        """The service stops while these are on: nobody will see their end."""
        for outage in self.watched(now):
            self._end(msgspec.structs.replace(outage, stopped=True))
        stopped, self._active = self._active, {}
        return tuple(self._ended[key] for key in stopped)

    def _opened(self, outage_id: str, change: Change) -> Outage:
        outage = Outage(
            id=outage_id,
            scope=change.scope,
            endpoint=self._endpoints.get(change.scope.upstream, ""),
            software=self._software,
            started=change.at,
            watched_until=change.at,
            state=change.after,
            worst=change.after,
        )
        for at, evidence in self._evidence:
            if evidence.scope == change.scope and change.at - at <= _LEAD_S:
                outage = _with_evidence(outage, evidence, at)
        counted = self._last_known(change.scope)
        for at, record in self._requests:
            if change.at - at <= _LEAD_S and record.started > counted:
                outage = with_request(outage, record)
        return outage

    def _cause(self, outage: Outage, change: Change) -> Scope | None:
        """Whose outage it was, if it ended by evidence against a wider scope, or was but the
        shadow that a suspicion of an upstream throws on its models."""
        if change.evidence.weight > 0 and change.evidence.scope.kind in _WIDER:
            return change.evidence.scope
        upstream = upstream_scope(outage.scope.upstream)
        if outage.scope.kind != "model" or outage.worst is not State.SUSPECT:
            return None
        beside = any(o.scope == upstream and o.last_known >= outage.started for o in self.known)
        return upstream if beside else None

    def _last_known(self, scope: Scope) -> float:
        """Until when an earlier outage of the scope counted its requests."""
        ends = (outage.last_known for outage in self._ended.values() if outage.scope == scope)
        return max(ends, default=0.0)

    def _end(self, outage: Outage) -> None:
        self._ended[outage.id] = outage
        self._last_end = outage.last_known
        if len(self._ended) > _ENDED:
            del self._ended[next(iter(self._ended))]

    def _concerned(self, record: FinishedRequest) -> list[Outage]:
        """Those that were on while the request was under way."""
        late = (
            outage
            for outage in self._ended.values()
            if outage.last_known >= record.started or outage.id == record.provenance.outage
        )
        return [*self._active.values(), *late]


def _has_failed(record: FinishedRequest) -> bool:
    # A generator would double what a request costs here while all is well.
    for attempt in record.provenance.attempts:  # noqa: SIM110
        if attempt.outcome.weight > 0:
            return True
    return False


def _changed(outage: Outage, change: Change) -> Outage:
    transition = Transition(
        at=change.at,
        before=change.before,
        after=change.after,
        source=change.evidence.source,
        reason=change.evidence.reason,
        why=_said(change.evidence),
    )
    return msgspec.structs.replace(
        _until(outage, change.at),
        state=change.after,
        worst=max(outage.worst, change.after, key=_SEVERITY.index),
        ended=None,
        cause=None,
        transitions=outage.transitions.plus(transition),
    )


def _until(outage: Outage, now: float) -> Outage:
    spent_s = now - outage.watched_until
    state = outage.state.value
    return msgspec.structs.replace(
        outage,
        watched_until=now,
        spent_s={**outage.spent_s, state: outage.spent_s.get(state, 0.0) + spent_s},
    )


def _with_evidence(outage: Outage, evidence: Evidence, at: float) -> Outage:
    line = EvidenceLine(
        at=at,
        source=evidence.source,
        reason=evidence.reason,
        text=_said(evidence),
        against=evidence.weight > 0,
    )
    if evidence.source == "status-page":
        return msgspec.structs.replace(outage, status_page=outage.status_page.plus(line))
    return msgspec.structs.replace(outage, evidence=outage.evidence.plus(line))


def _said(evidence: Evidence) -> str:
    # What is said of a refused key may quote it.
    if evidence.scope.kind == "credential":
        return evidence.reason
    return plain(evidence.summary)
