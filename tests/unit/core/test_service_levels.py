"""A month's service levels."""

from __future__ import annotations

import pytest

from fallback.core.service_levels import (
    Interval,
    Latency,
    Levels,
    Outages,
    Request,
    Service,
    levels,
)

WELL = Request("generate", "cloud", "anthropic", "opus", "ok", 200, "complete", 2.0, 0.5)


def of(**changes: object) -> Request:
    """A request that differs from one that went well."""
    return WELL._replace(**changes)  # type: ignore[arg-type]


def only(*requests: Request) -> Service:
    """All of one upstream."""
    return levels(requests, ()).services[0]


def test_an_outage_without_us_and_with_us() -> None:
    """What local answered, the cloud did not."""
    local = of(tier="local", reason="upstream-503")
    found = levels([*[WELL] * 97, *[local] * 2, of(tier="none", status=503)], ())
    (all_of, opus) = found.services
    assert all_of == Service(
        upstream="anthropic", model="", requests=100, of_cloud=100, without_us=0.97, with_us=0.99
    )
    assert (opus.model, opus.without_us) == ("opus", 0.97)


@pytest.mark.parametrize(
    ("request_", "without_us", "with_us"),
    [
        (WELL, 1.0, 1.0),
        (of(status=400), 1.0, 1.0),
        (of(status=429), 0.0, 0.0),
        (of(status=402), 0.0, 0.0),
        (of(status=529), 0.0, 0.0),
        (of(ended="broken"), 0.0, 0.0),
        (of(tier="spliced"), 0.0, 1.0),
        (of(tier="alternate", upstream="openai"), 0.0, 1.0),
        (of(tier="local", reason="policy"), None, 1.0),
        (of(tier="none", status=503, reason="cloud-only"), 0.0, 0.0),
    ],
)
def test_what_counts_as_available(
    request_: Request, without_us: float | None, with_us: float | None
) -> None:
    """By whom and how it was answered."""
    found = only(request_)
    assert (found.without_us, found.with_us) == (without_us, with_us)


def test_what_nobody_is_to_blame_for_does_not_count() -> None:
    """Clients that left, requests that a kill ended, and what asks no model."""
    given_up = [of(ended="client-gone", status=None), of(ended="killed")]
    assert levels([*given_up, of(operation="models")], (), lost=7) == Levels(
        requests=0, unfinished=2, lost=7, services=(), tiers=(), outages=()
    )


def test_latencies_by_tier() -> None:
    """Percentiles are values that occurred; those of unanswered requests are not among them."""
    some = [of(duration_s=float(n), first_content_s=None) for n in range(1, 101)]
    found = levels([*some, of(tier="local"), of(status=503, duration_s=999.0)], ()).tiers
    assert found == (
        Latency(
            tier="cloud",
            answers=100,
            share=100 / 102,
            first_content_s={},
            duration_s={"p50": 50.0, "p95": 95.0, "p99": 99.0},
        ),
        Latency(
            tier="local",
            answers=1,
            share=1 / 102,
            first_content_s={"p50": 0.5, "p95": 0.5, "p99": 0.5},
            duration_s={"p50": 2.0, "p95": 2.0, "p99": 2.0},
        ),
    )


def test_minutes_are_not_counted_twice() -> None:
    """A model's outage within its upstream's is part of that."""
    found = levels(
        [],
        [
            Interval("anthropic", 0.0, 600.0),
            Interval("anthropic", 60.0, 120.0),
            Interval("anthropic", 540.0, 660.0),
            Interval("openai", 0.0, 60.0),
        ],
    ).outages
    assert found == (
        Outages(upstream="anthropic", count=3, minutes=11.0),
        Outages(upstream="openai", count=1, minutes=1.0),
    )
