"""What has happened to one request so far, and what is told of it in the end."""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Mapping
from typing import Literal, NamedTuple, Protocol, TypeAlias

import msgspec

from fallback.core.errors import FallbackError
from fallback.core.health import Admission, Case
from fallback.core.outcome import Outcome, Verdict
from fallback.core.plan import Plan
from fallback.core.policy import Tier, Treatment
from fallback.core.provenance import Attempt, Headers, Provenance
from fallback.core.record import FinishedRequest
from fallback.core.routing import Route
from fallback.dialects.peek import Peek
from fallback.tiers.local import StreamedAnswer, Terms, WholeAnswer
from fallback.upstream.attempt import Whole
from fallback.upstream.live import Live

Committed: TypeAlias = Whole | Live | WholeAnswer | StreamedAnswer
Ending: TypeAlias = Literal["complete", "broken", "client-gone"]


class Exchange(Protocol):
    """One request of a client, and the way back. Header names are lower case; `path` is raw."""

    method: str
    path: str
    query: bytes
    headers: Headers

    async def body(self, limit_bytes: int) -> bytes | AsyncIterable[bytes]:
        """The whole body, or a stream of it (read or not) where it is over the limit."""
        ...

    def start(self, status: int, headers: Headers) -> Awaitable[None]: ...

    def send(self, chunk: bytes) -> Awaitable[None]: ...

    def finish(self, chunk: bytes = b"") -> Awaitable[None]:
        """The proper end. An answer that was started and not finished is aborted."""
        ...


class Answer(NamedTuple):
    """A committed answer and where it is from. `committed_s`: after how many seconds its first
    content came, where an upstream gave it."""

    tier: Tier
    case: Case
    result: Committed
    committed_s: float | None = None


class Story:
    """One request. `headers` has one value a name; `deadlines` are those of `treatment` within the
    client's patience. `leases` are the admissions of alternates.
    `pending` is an attempt that is still under way while another tier answers; `outage` the one
    that tags the answer; `spare` an upstream's own error, good enough if nobody has a better
    answer; `refusal` why the local tier has none. `stale_s`: how old an earlier answer of
    `stale_key` may be.
    """

    __slots__ = (
        "admission",
        "attempts",
        "body",
        "case",
        "deadlines",
        "detail",
        "ended",
        "exchange",
        "first_content_s",
        "headers",
        "leases",
        "outage",
        "patience_s",
        "peek",
        "pending",
        "plan",
        "provenance",
        "receipt",
        "refusal",
        "route",
        "spare",
        "stale_key",
        "stale_s",
        "started",
        "status",
        "treatment",
    )

    def __init__(
        self,
        exchange: Exchange,
        headers: Mapping[bytes, bytes],
        route: Route,
        receipt: str,
        started: float,
    ) -> None:
        self.exchange = exchange
        self.headers = headers
        self.route = route
        self.receipt = receipt
        self.started = started
        self.body: bytes | AsyncIterable[bytes] = b""
        self.peek = Peek()
        self.case = Case(upstream=route.upstream)
        self.admission = Admission(kind="open")
        self.leases: tuple[Admission, ...] = ()
        self.treatment = Treatment()
        self.patience_s: float | None = None
        self.deadlines = self.treatment.deadlines
        self.plan = Plan(steps=())
        self.attempts: tuple[Attempt, ...] = ()
        self.pending: tuple[Attempt, ...] = ()
        self.outage: str | None = None
        self.spare: Answer | None = None
        self.stale_key: str | None = None
        self.stale_s = 0.0
        self.refusal: FallbackError | None = None
        self.first_content_s: float | None = None
        self.status: int | None = None
        self.ended: Ending = "client-gone"
        self.detail: str | None = None
        self.provenance: Provenance | None = None

    def __repr__(self) -> str:
        tried = [attempt.outcome.reason for attempt in self.attempts]
        return f"<Story {self.receipt} {self.route.operation} tried={tried} {self.ended}>"

    @property
    def reason(self) -> str:
        """Why another tier than the cloud answers: a stable token."""
        tried = (*self.attempts, *self.pending)
        # An alternate's success is not why it was asked.
        if failed := [each for each in tried if each.outcome.verdict is not Verdict.SUCCESS]:
            return failed[-1].outcome.reason
        if self.admission.kind == "canary":
            return "recovering"
        return self.plan.skipped or "policy"

    @property
    def terms(self) -> Terms:
        """How the local tier is to be had for it."""
        return Terms(
            priority=self.treatment.rank,
            client=self.case.credential,
            first_token_s=self.deadlines.local_first_content_s,
            late_after_s=self.patience_s,
            agent=self.headers.get(b"user-agent", b"").decode("latin-1"),
            notify=self.treatment.notice,
        )

    def tried(self, upstream: str, outcome: Outcome) -> None:
        self.attempts = (*self.attempts, Attempt(upstream=upstream, outcome=outcome))

    def origin(
        self, tier: str, *, upstream: str | None = None, reason: str | None = None
    ) -> Provenance:
        """The provenance of an answer of that tier, as far as it is known now."""
        return Provenance(
            receipt=self.receipt,
            tier=tier,
            upstream=upstream or self.route.upstream,
            reason=reason or self.reason,
            requested_model=self.peek.model or None,
            outage=self.outage,
            attempts=(*self.attempts, *self.pending),
        )

    def record(self, ended_at: float) -> FinishedRequest:
        """The whole story, for observers."""
        last = self.attempts[-1].outcome.reason if self.attempts else None
        gone = last or self.plan.skipped or "client-gone"
        tier = "cloud" if self.attempts else "none"
        told = self.provenance or self.origin(tier, reason=gone)
        return FinishedRequest(
            provenance=msgspec.structs.replace(told, attempts=self.attempts),
            method=self.exchange.method,
            path=self.exchange.path,
            dialect=self.route.dialect,
            operation=self.route.operation,
            status=self.status,
            ended=self.ended,
            started=self.started,
            first_content_s=self.first_content_s,
            canary=self.admission.kind == "canary",
            duration_s=ended_at - self.started,
            detail=self.detail,
        )
