"""Observers of finished requests."""

from __future__ import annotations

import logging
from typing import Literal

import pytest

from fallback.core.health import Change, Evidence, HealthView, Remark, State, upstream_scope
from fallback.core.ports import EngineStatus
from fallback.core.provenance import Provenance
from fallback.core.record import FinishedRequest
from fallback.telemetry.log import log_engine, log_health, log_request
from fallback.telemetry.recent import Recent


def record(
    number: int, *, tier: str = "cloud", ended: Literal["complete", "broken"] = "complete"
) -> FinishedRequest:
    return FinishedRequest(
        provenance=Provenance(receipt=f"rcp_{number}", tier=tier, upstream="openai", reason="ok"),
        method="POST",
        path="/v1/responses",
        dialect="openai-responses",
        operation="generate",
        status=200,
        ended=ended,
        started=0.0,
        duration_s=0.25,
    )


def test_memory_is_bounded_and_counts_go_on() -> None:
    """The oldest record makes room; the counts by tier are since the start."""
    recent = Recent(limit=10)
    for number in range(25):
        recent(record(number, tier="local" if number % 5 == 0 else "cloud"))
    assert recent.find("rcp_14") is None
    assert recent.find("rcp_15") is not None
    assert recent.answered_by() == {"local": 5, "cloud": 20}


def test_only_what_is_out_of_the_ordinary_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The healthy path is silent at the default level."""
    caplog.set_level(logging.INFO, "fallback")
    log_request(record(1))
    assert caplog.messages == []
    log_request(record(2, tier="local"))
    log_request(record(3, ended="broken"))
    assert "by local in 0.25 s, complete" in caplog.messages[0]
    assert "broken" in caplog.messages[1]


def test_changes_of_health_and_engine_are_logged_with_their_reason(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line each."""
    caplog.set_level(logging.INFO, "fallback")
    story = (Remark(at=0.0, text="suspect -> down: upstream-529"),)
    view = HealthView(state=State.DOWN, since=0.0, outage="out-1", score=6.0, story=story)
    scope = upstream_scope("anthropic")
    failed = Evidence(scope=scope, source="request", weight=2.0, summary="upstream-529")
    log_health(
        Change(
            scope=scope,
            before=State.SUSPECT,
            after=State.DOWN,
            at=0.0,
            outage="out-1",
            ended=None,
            evidence=failed,
            view=view,
        )
    )
    log_engine(EngineStatus(state="failed", detail="the model file is truncated"))
    assert caplog.messages == [
        "anthropic is down (suspect -> down: upstream-529)",
        "local is not ready: the model file is truncated",
    ]
