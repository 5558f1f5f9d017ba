"""Changes, evidence and finished requests for tests of outages, each in one line."""

from __future__ import annotations

from typing import Any

from fallback.core.health import (
    Change,
    Evidence,
    HealthView,
    Scope,
    Source,
    State,
    upstream_scope,
)
from fallback.core.outages import Outage, OutageBook
from fallback.core.outcome import AttemptFacts, Failure, Outcome, classify, hedged_away
from fallback.core.provenance import Attempt, Provenance
from fallback.core.record import FinishedRequest

CLOUD = upstream_scope("anthropic")
START = 1_000_000.0
ENDPOINT = "https://api.anthropic.com"

OVERLOADED = classify(
    AttemptFacts(
        phase="done",
        status=529,
        error_type="overloaded_error",
        error_message="Overloaded",
        duration_s=0.2,
        request_id="req_011",
    )
)
SILENT = classify(AttemptFacts(phase="headers", failure=Failure.TIMEOUT, duration_s=20.0))
SLOW = hedged_away(AttemptFacts(phase="content", status=200, duration_s=8.0))
FINE = classify(AttemptFacts(phase="done", status=200, duration_s=1.0))
BAD_KEY = classify(AttemptFacts(phase="done", status=401, error_type="authentication_error"))


def book() -> OutageBook:
    return OutageBook({"anthropic": ENDPOINT}, software="fallback 1.2.3")


def evidence(
    summary: str = "upstream-529: Overloaded",
    *,
    scope: Scope = CLOUD,
    source: Source = "request",
    weight: float = 2.0,
) -> Evidence:
    return Evidence(
        scope=scope,
        source=source,
        weight=weight,
        summary=summary,
        alive=weight <= 0,
        reason=summary.partition(":")[0],
    )


def change(
    before: str,
    after: str,
    at: float,
    *,
    number: int = 1,
    scope: Scope = CLOUD,
    because: Evidence | None = None,
) -> Change:
    """Outage `out-<number>` of the scope goes from one state to another; it ends well unless
    said otherwise."""
    ends = after == "healthy"
    usual = evidence("ok", weight=-2.0, scope=scope) if ends else evidence(scope=scope)
    outage = f"out-{number}"
    return Change(
        scope=scope,
        before=State(before),
        after=State(after),
        at=at,
        outage=None if ends else outage,
        ended=outage if ends else None,
        evidence=because or usual,
        view=HealthView(state=State(after), since=at, outage=outage, score=0.0, story=()),
    )


def request(
    *outcomes: Outcome,
    at: float,
    tier: str = "cloud",
    outage: str | None = None,
    duration_s: float = 1.0,
    upstream: str = "anthropic",
    reason: str = "ok",
    **fields: Any,
) -> FinishedRequest:
    """A request that began at `at`, with these attempts."""
    return FinishedRequest(
        provenance=Provenance(
            receipt="rcp_1",
            tier=tier,
            upstream=upstream,
            reason=reason,
            outage=outage,
            requested_model=fields.pop("model", None),
            attempts=tuple(Attempt(upstream=upstream, outcome=o) for o in outcomes),
        ),
        method="POST",
        path="/v1/messages",
        dialect="anthropic",
        operation="generate",
        started=at,
        duration_s=duration_s,
        **{"status": 200, "ended": "complete", **fields},
    )


def down(at: float = START, *, number: int = 1) -> Outage:
    """An outage that is on: two changes and one affected request."""
    of = book()
    of.changed(change("healthy", "suspect", at, number=number))
    of.changed(change("suspect", "down", at + 10, number=number))
    (outage,) = of.finished(
        request(OVERLOADED, at=at + 5, tier="local", outage=f"out-{number}"), at + 20
    )
    return outage
