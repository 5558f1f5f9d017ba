"""What an attempt says about its upstream."""

import pytest

from fallback.core.outcome import (
    AttemptFacts,
    Failure,
    Phase,
    Verdict,
    classify,
    hedged_away,
    proxy_status_error,
    slowed,
)


@pytest.mark.parametrize(
    ("status", "error_type", "verdict", "weight", "next_tier"),
    [
        (200, None, Verdict.SUCCESS, -2, False),
        (304, None, Verdict.SUCCESS, -2, False),
        (400, "invalid_request_error", Verdict.CLIENT_ERROR, 0, False),
        (404, None, Verdict.CLIENT_ERROR, 0, False),
        (413, "request_too_large", Verdict.CLIENT_ERROR, 0, False),
        (422, None, Verdict.CLIENT_ERROR, 0, False),
        (401, "authentication_error", Verdict.CREDENTIAL, 0, False),
        (403, "permission_error", Verdict.CREDENTIAL, 0, False),
        (402, None, Verdict.QUOTA, 0, False),
        (429, "insufficient_quota", Verdict.QUOTA, 0, False),
        (400, "credit_balance_exhausted", Verdict.QUOTA, 0, False),
        (429, "rate_limit_error", Verdict.RATE_LIMITED, 0, False),
        (503, "cmek_key_disabled", Verdict.CLIENT_ERROR, 0, False),
        (503, "registration_pending", Verdict.CLIENT_ERROR, 0, False),
        (529, "compaction_unavailable", Verdict.CLIENT_ERROR, 0, False),
        (529, "overloaded_error", Verdict.OUTAGE, 2, True),
        (503, "server_is_overloaded", Verdict.OUTAGE, 2, True),
        (500, "api_error", Verdict.OUTAGE, 2, True),
        (502, None, Verdict.OUTAGE, 2, True),
        (520, None, Verdict.OUTAGE, 2, True),
        (504, "timeout_error", Verdict.OUTAGE, 1, True),
        (599, "never_heard_of", Verdict.OUTAGE, 2, True),
    ],
)
def test_a_status_is_judged_with_its_error_type(
    status: int, error_type: str | None, verdict: Verdict, weight: float, next_tier: bool
) -> None:
    """Each row of the table of outcomes gives its verdict, weight and right to fall over."""
    outcome = classify(AttemptFacts(phase="done", status=status, error_type=error_type))
    assert (outcome.verdict, outcome.weight, outcome.next_tier) == (verdict, weight, next_tier)


@pytest.mark.parametrize(
    ("failure", "phase", "weight", "next_tier"),
    [
        (Failure.DNS, "connect", 3, True),
        (Failure.REFUSED, "connect", 3, True),
        (Failure.TLS, "connect", 3, True),
        (Failure.RESET, "headers", 3, True),
        (Failure.TIMEOUT, "headers", 2, True),
        (Failure.HTML, "content", 3, True),
        (Failure.NOT_JSON, "content", 3, True),
        (Failure.ENCODING, "content", 3, True),
        (Failure.EMPTY, "content", 2, True),
        (Failure.TRUNCATED, "content", 2, True),
        (Failure.RESET, "stream", 1.5, False),
        (Failure.STALL, "stream", 1.5, False),
        (Failure.TRUNCATED, "stream", 1.5, False),
        (Failure.CLIENT_GONE, "stream", 0, False),
        (Failure.CLIENT_GONE, "headers", 0, False),
    ],
)
def test_a_failure_weighs_by_how_far_the_attempt_came(
    failure: Failure, phase: Phase, weight: float, next_tier: bool
) -> None:
    """After the client has content another tier may not start again, and the evidence is less."""
    outcome = classify(AttemptFacts(phase=phase, failure=failure))
    assert (outcome.weight, outcome.next_tier) == (weight, next_tier)


@pytest.mark.parametrize(
    ("error_type", "weight", "next_tier"),
    [
        ("overloaded_error", 2, True),
        ("rate_limit_error", 0, False),
        ("invalid_request_error", 0, False),
        (None, 2, True),
    ],
)
def test_an_error_event_before_content_counts_as_its_status(
    error_type: str | None, weight: float, next_tier: bool
) -> None:
    """An SSE error as first event is judged like the HTTP status that means the same."""
    facts = AttemptFacts(
        phase="content", status=200, failure=Failure.ERROR_EVENT, error_type=error_type
    )
    outcome = classify(facts)
    assert (outcome.weight, outcome.next_tier) == (weight, next_tier)


def test_an_unknown_code_of_a_known_kind_goes_by_its_kind() -> None:
    """A code nobody has heard of under `invalid_request_error` is the client's, not an outage."""
    facts = AttemptFacts(
        phase="content",
        failure=Failure.ERROR_EVENT,
        error_type="never_heard_of",
        error_kind="invalid_request_error",
    )
    assert classify(facts).verdict is Verdict.CLIENT_ERROR


def test_an_error_event_after_content_never_starts_again() -> None:
    """Once the client has content, an overloaded upstream is weaker evidence and no fall-over."""
    facts = AttemptFacts(
        phase="stream", status=200, failure=Failure.ERROR_EVENT, error_type="overloaded_error"
    )
    outcome = classify(facts)
    assert (outcome.weight, outcome.next_tier) == (1.5, False)


def test_every_failure_but_a_leaving_client_has_a_proxy_status_error() -> None:
    """RFC 9209 gets an error type for whatever went wrong at the upstream."""
    without = {
        failure
        for failure in Failure
        if proxy_status_error(AttemptFacts(phase="headers", failure=failure)) is None
    }
    assert without == {Failure.CLIENT_GONE}


@pytest.mark.parametrize(
    ("status", "verdict", "weight", "reason"),
    [(None, Verdict.OUTAGE, 2, "silent"), (200, Verdict.SLOW, 1, "slow")],
)
def test_who_lost_the_race_was_silent_or_slow(
    status: int | None, verdict: Verdict, weight: float, reason: str
) -> None:
    """An upstream that has sent headers lives; neither may end the request."""
    outcome = hedged_away(AttemptFacts(phase="content", status=status, duration_s=8.0))
    assert (outcome.verdict, outcome.weight, outcome.reason) == (verdict, weight, reason)
    assert outcome.next_tier
    assert proxy_status_error(outcome.facts) == "http_response_timeout"


def test_a_slow_success_proves_no_health() -> None:
    """It answered, and its request needs nobody else."""
    outcome = slowed(classify(AttemptFacts(phase="done", status=200)))
    assert (outcome.verdict, outcome.weight, outcome.next_tier) == (Verdict.SLOW, 1, False)
