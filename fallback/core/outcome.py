"""Facts of one attempt at an upstream -> what they say about its health.

Rules of this file:
- Pure: the same facts give the same outcome.
- Status decides first, the provider's error type second; message text never.
- Evidence is about the provider only: a client's mistake, a bad key, a rate limit or a client
  that left weighs nothing.

Weights and classes: the table of the project's design, from the providers' published error
pages (docs.claude.com/en/api/errors, platform.openai.com/docs/guides/error-codes) and what
clients saw in the outages of March 2026.
"""

from __future__ import annotations

from enum import Enum
from typing import Literal, TypeAlias

import msgspec


class Failure(Enum):
    """What went wrong beside (or instead of) an HTTP status."""

    DNS = "dns"
    NO_ROUTE = "no_route"
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    TLS = "tls"
    CERTIFICATE = "certificate"
    RESET = "reset"
    PROTOCOL = "protocol"
    TIMEOUT = "timeout"
    STALL = "stall"
    TRUNCATED = "truncated"
    EMPTY = "empty"
    HTML = "html"
    REDIRECT = "redirect"
    NOT_JSON = "not_json"
    ENCODING = "encoding"
    ERROR_EVENT = "error_event"
    HEDGED = "hedged"
    CLIENT_GONE = "client_gone"


Phase: TypeAlias = Literal["connect", "headers", "content", "stream", "done"]


class Verdict(Enum):
    """What an outcome says about the upstream."""

    SUCCESS = "success"
    OUTAGE = "outage"
    SLOW = "slow"
    RATE_LIMITED = "rate-limited"
    CREDENTIAL = "credential"
    QUOTA = "quota"
    CLIENT_ERROR = "client-error"
    NEUTRAL = "neutral"


class AttemptFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One try at an upstream.

    `phase` is how far it came: `connect` (no byte sent), `headers` (waiting for the answer),
    `content` (headers good, nothing committed), `stream` (client already has content), `done`.
    `error_type` is the most telling name the provider gave, `error_kind` its general type.
    `duration_s` is seconds since the attempt began; `retry_after_s` is what the provider asked
    for, clamped; `request_id` is the provider's name for it.
    """

    phase: Phase
    status: int | None = None
    failure: Failure | None = None
    error_type: str | None = None
    error_kind: str | None = None
    error_message: str | None = None
    duration_s: float = 0.0
    retry_after_s: float | None = None
    request_id: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The judgement. `weight` > 0 is evidence of an outage, < 0 of health, 0 of nothing.

    `next_tier` says whether another tier may answer this request; `reason` is a stable token
    for provenance and metrics.
    """

    facts: AttemptFacts
    verdict: Verdict
    weight: float
    next_tier: bool
    reason: str


_QUOTA_TYPES = frozenset(
    {
        "billing_error",
        "credit_balance_exhausted",
        "enforced_spend_limit_reached",
        "insufficient_quota",
        "billing_hard_limit_reached",
    }
)
_CUSTOMER_SIDE_TYPES = frozenset({"compaction_unavailable", "registration_pending"})

_EVENT_STATUS = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "slow_down": 429,
    "api_error": 500,
    "server_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
    "server_is_overloaded": 503,
    "insufficient_quota": 402,
    "context_length_exceeded": 400,
    "invalid_prompt": 400,
}

_UNREACHABLE = frozenset(
    {
        Failure.DNS,
        Failure.NO_ROUTE,
        Failure.REFUSED,
        Failure.CONNECT_TIMEOUT,
        Failure.TLS,
        Failure.CERTIFICATE,
        Failure.RESET,
        Failure.PROTOCOL,
    }
)
_FALSE_ANSWER = frozenset({Failure.HTML, Failure.REDIRECT, Failure.NOT_JSON, Failure.ENCODING})


def classify(facts: AttemptFacts) -> Outcome:
    """The outcome of an attempt. Total: every combination of facts has one."""
    verdict, weight, next_tier, reason = _judge(facts)
    return Outcome(facts=facts, verdict=verdict, weight=weight, next_tier=next_tier, reason=reason)


def hedged_away(facts: AttemptFacts) -> Outcome:
    """What an attempt says that lost the race for the first content to another tier."""
    return classify(msgspec.structs.replace(facts, failure=Failure.HEDGED))


def slowed(outcome: Outcome) -> Outcome:
    """A success whose first content came past what is usual for it: no proof of health."""
    return msgspec.structs.replace(outcome, verdict=Verdict.SLOW, weight=1.0, reason="slow")


_Judgement: TypeAlias = tuple[Verdict, float, bool, str]


def _judge(facts: AttemptFacts) -> _Judgement:
    failure = facts.failure
    if failure is Failure.CLIENT_GONE:
        return Verdict.NEUTRAL, 0.0, False, "client-gone"
    if failure is Failure.HEDGED:
        return _judge_hedged(facts)
    if failure is not None and facts.phase == "stream":
        return _judge_broken_stream(facts)
    if failure is Failure.ERROR_EVENT:
        return _judge_status(_event_status(facts), facts)
    if failure in _UNREACHABLE:
        return Verdict.OUTAGE, 3.0, True, f"unreachable-{failure.value.replace('_', '-')}"
    if failure in _FALSE_ANSWER:
        return Verdict.OUTAGE, 3.0, True, f"invalid-{failure.value.replace('_', '-')}"
    if failure is not None:
        return Verdict.OUTAGE, 2.0, True, failure.value
    return _judge_status(facts.status or 0, facts)


def _judge_hedged(facts: AttemptFacts) -> _Judgement:
    """Another tier won the race: an upstream that sent headers is slow, one without is silent."""
    if facts.status is None:
        return Verdict.OUTAGE, 2.0, True, "silent"
    return Verdict.SLOW, 1.0, True, "slow"


def _judge_broken_stream(facts: AttemptFacts) -> _Judgement:
    """The client has content: another tier can only go on, never start again."""
    if facts.failure is Failure.ERROR_EVENT:
        verdict, weight, _, reason = _judge_status(_event_status(facts), facts)
        return verdict, min(weight, 1.5), False, f"stream-{reason}"
    assert facts.failure is not None
    return Verdict.OUTAGE, 1.5, False, f"stream-{facts.failure.value.replace('_', '-')}"


def _event_status(facts: AttemptFacts) -> int:
    """The HTTP status that says the same as an error event."""
    for name in (facts.error_type, facts.error_kind):
        if name in _EVENT_STATUS:
            return _EVENT_STATUS[name]
    return 500


def _judge_status(status: int, facts: AttemptFacts) -> _Judgement:
    error_type = facts.error_type or ""
    if 100 <= status < 400:
        return Verdict.SUCCESS, -2.0, False, "ok"
    if error_type in _QUOTA_TYPES or status == 402:
        return Verdict.QUOTA, 0.0, False, "quota"
    if status in (401, 403):
        return Verdict.CREDENTIAL, 0.0, False, "credential"
    if status == 429:
        return Verdict.RATE_LIMITED, 0.0, False, "rate-limited"
    if 400 <= status < 500:
        return Verdict.CLIENT_ERROR, 0.0, False, "client-error"
    if error_type.startswith("cmek_") or error_type in _CUSTOMER_SIDE_TYPES:
        return Verdict.CLIENT_ERROR, 0.0, False, "customer-side"
    if status == 504:
        return Verdict.OUTAGE, 1.0, True, "upstream-504"
    return Verdict.OUTAGE, 2.0, True, f"upstream-{status}"


_PROXY_STATUS_ERROR = {
    Failure.DNS: "dns_error",
    Failure.NO_ROUTE: "destination_ip_unroutable",
    Failure.REFUSED: "connection_refused",
    Failure.CONNECT_TIMEOUT: "connection_timeout",
    Failure.TLS: "tls_protocol_error",
    Failure.CERTIFICATE: "tls_certificate_error",
    Failure.RESET: "connection_terminated",
    Failure.PROTOCOL: "http_protocol_error",
    Failure.TIMEOUT: "http_response_timeout",
    Failure.STALL: "connection_read_timeout",
    Failure.TRUNCATED: "http_response_incomplete",
    Failure.EMPTY: "http_response_incomplete",
    Failure.ENCODING: "http_response_content_coding",
    Failure.HTML: "http_protocol_error",
    Failure.REDIRECT: "http_protocol_error",
    Failure.NOT_JSON: "http_protocol_error",
    Failure.ERROR_EVENT: "destination_unavailable",
    Failure.HEDGED: "http_response_timeout",
}


def proxy_status_error(facts: AttemptFacts) -> str | None:
    """The RFC 9209 section 2.3 error type that fits, or None where the attempt was answered."""
    if facts.failure is not None:
        return _PROXY_STATUS_ERROR.get(facts.failure)
    if facts.status is not None and facts.status >= 500:
        return "destination_unavailable"
    return None
