"""One finished request, folded into the counts of an outage."""

from __future__ import annotations

import msgspec

from fallback.core.health import Scope
from fallback.core.models import model_family
from fallback.core.outages.record import (
    AttemptCounts,
    FailedAttempt,
    Outage,
    RequestCounts,
    plain,
)
from fallback.core.outcome import Verdict
from fallback.core.provenance import Attempt
from fallback.core.record import FinishedRequest

_KINDS = 64
_OTHER = "other"


def with_request(outage: Outage, record: FinishedRequest) -> Outage:
    """The outage with this request counted; the same object if it does not concern it."""
    attempts = [a for a in record.provenance.attempts if _is_about(outage.scope, a, record)]
    against = [a for a in attempts if _speaks_against(outage.scope, a)]
    tagged = record.provenance.outage == outage.id and record.provenance.tier != "cloud"
    if not attempts and not tagged:
        return outage
    failures = outage.failures
    for attempt in against:
        failures = failures.plus(_failed_attempt(attempt, record))
    affected = tagged or bool(against)
    return msgspec.structs.replace(
        outage,
        attempts=_plus_attempts(outage.attempts, attempts, against),
        requests=_plus_request(outage.requests, record, affected=affected),
        failures=failures,
    )


def _speaks_against(scope: Scope, attempt: Attempt) -> bool:
    if scope.kind == "credential":
        return attempt.outcome.verdict is Verdict.CREDENTIAL
    return attempt.outcome.weight > 0


def _is_about(scope: Scope, attempt: Attempt, record: FinishedRequest) -> bool:
    if scope.kind == "network":
        return True
    if attempt.upstream != scope.upstream:
        return False
    if scope.kind == "model":
        return model_family(record.provenance.requested_model or "") == scope.name
    return scope.kind == "upstream" or attempt.outcome.verdict is Verdict.CREDENTIAL


def _failed_attempt(attempt: Attempt, record: FinishedRequest) -> FailedAttempt:
    facts = attempt.outcome.facts
    return FailedAttempt(
        at=record.started,
        upstream=attempt.upstream,
        operation=record.operation,
        reason=attempt.outcome.reason,
        duration_s=facts.duration_s,
        model=_named(record.provenance.requested_model),
        status=facts.status,
        error_type=_named(facts.error_type),
        request_id=_named(facts.request_id),
    )


def _named(name: str | None) -> str | None:
    return None if name is None else plain(name)


def _plus_attempts(
    counts: AttemptCounts, attempts: list[Attempt], against: list[Attempt]
) -> AttemptCounts:
    reasons, statuses = counts.reasons, counts.statuses
    for attempt in attempts:
        reasons = _plus_one(reasons, attempt.outcome.reason)
        if (status := attempt.outcome.facts.status) is not None:
            statuses = _plus_one(statuses, str(status))
    slow = sum(attempt.outcome.verdict is Verdict.SLOW for attempt in against)
    return AttemptCounts(
        made=counts.made + len(attempts),
        failed=counts.failed + len(against) - slow,
        slow=counts.slow + slow,
        reasons=reasons,
        statuses=statuses,
    )


def _plus_request(
    counts: RequestCounts, record: FinishedRequest, *, affected: bool
) -> RequestCounts:
    canaries = counts.canaries + record.canary
    if not affected:
        return msgspec.structs.replace(counts, canaries=canaries)
    counts = msgspec.structs.replace(
        counts,
        affected=counts.affected + 1,
        canaries=canaries,
        reasons=_plus_one(counts.reasons, record.provenance.reason),
    )
    if record.ended != "complete" or (record.status or 500) >= 500:
        return msgspec.structs.replace(counts, failed=counts.failed + 1)
    waited_s = record.first_content_s
    return msgspec.structs.replace(
        counts,
        answered=_plus_one(counts.answered, record.provenance.tier),
        first_contents=counts.first_contents + (waited_s is not None),
        first_content_total_s=counts.first_content_total_s + (waited_s or 0.0),
        first_content_max_s=max(counts.first_content_max_s, waited_s or 0.0),
    )


def _plus_one(counts: dict[str, int], key: str) -> dict[str, int]:
    if key not in counts and len(counts) >= _KINDS:
        key = _OTHER
    return {**counts, key: counts.get(key, 0) + 1}
