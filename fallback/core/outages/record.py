"""One outage: a frozen record that each event replaces by the next. Times are Unix seconds.

It holds no prompt, no answer and no key. What a provider said in its errors stands in
`EvidenceLine.text` and `Transition.why` alone, which no report quotes; of a refused key not even
there.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from fallback.core.health import Scope, Source, State
from fallback.core.outages.ends import Ends

Phase: TypeAlias = Literal["on", "ended", "withdrawn", "unknown"]

# A service that lives says every five seconds that it still watches.
_SILENCE_S = 20.0
_TEXT_CHARS = 256


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state; `why` is the summary of the evidence that tipped the scale, `reason`
    its stable token."""

    at: float
    before: State
    after: State
    source: Source
    reason: str
    why: str


class EvidenceLine(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of evidence; `against` the scope, or for it (a sign of life)."""

    at: float
    source: Source
    reason: str
    text: str
    against: bool


class FailedAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at an upstream that failed or was slow. `at` is when the client's request began,
    `duration_s` how long the try took, `request_id` what the provider calls it."""

    at: float
    upstream: str
    operation: str
    reason: str
    duration_s: float
    model: str | None = None
    status: int | None = None
    error_type: str | None = None
    request_id: str | None = None


class AttemptCounts(msgspec.Struct, frozen=True, kw_only=True):
    """All tries at the scope while it was unwell, good ones too: by reason and by HTTP status.
    A `slow` one did not fail, it was answered or given up past what is usual."""

    made: int = 0
    failed: int = 0
    slow: int = 0
    reasons: dict[str, int] = {}
    statuses: dict[str, int] = {}


class RequestCounts(msgspec.Struct, frozen=True, kw_only=True):
    """Clients' requests that were affected: an attempt failed, or the cloud was not asked.

    `answered` counts those that got a whole answer, by tier; `failed` ones got an error, half an
    answer or none. `reasons` says why, of all of them. `canaries` were let through to see whether
    it is back. First content is in seconds from the request's start, of the answered where known.
    """

    affected: int = 0
    failed: int = 0
    canaries: int = 0
    answered: dict[str, int] = {}
    reasons: dict[str, int] = {}
    first_contents: int = 0
    first_content_total_s: float = 0.0
    first_content_max_s: float = 0.0


class Outage(msgspec.Struct, frozen=True, kw_only=True):
    """`endpoint` is the base URL of the upstream, empty for the network; `software` who
    measured. `watched_until` is when the service last knew: it stays behind where the service
    was killed. `stopped`: it was shut down meanwhile. `cause` is the wider scope that the evidence
    turned out to be about: the network, or a model's upstream. `spent_s` is seconds by state."""

    id: str
    scope: Scope
    endpoint: str
    software: str
    started: float
    watched_until: float
    state: State
    worst: State
    ended: float | None = None
    stopped: bool = False
    cause: Scope | None = None
    spent_s: dict[str, float] = {}
    transitions: Ends[Transition] = Ends()
    evidence: Ends[EvidenceLine] = Ends()
    status_page: Ends[EvidenceLine] = Ends()
    requests: RequestCounts = RequestCounts()
    attempts: AttemptCounts = AttemptCounts()
    failures: Ends[FailedAttempt] = Ends()

    @property
    def last_known(self) -> float:
        """The end, or until when it is known to have been on."""
        return self.watched_until if self.ended is None else self.ended

    @property
    def lasted_s(self) -> float:
        return self.last_known - self.started

    @property
    def matters(self) -> bool:
        """Worth a record: it came to `down`, or a request felt it. A suspicion that went by
        without either is nobody's outage (a stray probe that failed), nor is one that turned out
        to be another's. Of those that requests felt chance makes one in an hour at most, for
        that is what a suspicion means."""
        return self.worst is State.DOWN or (self.requests.affected > 0 and self.cause is None)

    def phase(self, now: float) -> Phase:
        """`unknown`: nobody watched its end, for the service was stopped or killed. After a new
        start the scope counts as well until evidence says otherwise, and that is a new outage:
        what was between the two nobody saw, so no record claims it."""
        if self.cause is not None:
            return "withdrawn"
        if self.ended is not None:
            return "ended"
        silent = now - self.watched_until > _SILENCE_S
        return "unknown" if self.stopped or silent else "on"


def brief(outage: Outage) -> Outage:
    """The same with its long lists only counted, for listing many."""
    return msgspec.structs.replace(
        outage,
        transitions=outage.transitions.counted(),
        evidence=outage.evidence.counted(),
        status_page=outage.status_page.counted(),
        failures=outage.failures.counted(),
    )


def plain(text: str) -> str:
    """What others named or said, fit for one line of a terminal."""
    return "".join(c if c.isprintable() else " " for c in text[:_TEXT_CHARS])


def body(outage: Outage, *, now: float) -> dict[str, Any]:
    """A record as JSON types, with its phase at `now`; it converts back into the record."""
    fields: dict[str, Any] = msgspec.to_builtins(outage)
    return {**fields, "as_of": now, "phase": outage.phase(now), "lasted_s": outage.lasted_s}
