"""An outage told to its provider."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
from outage_events import FINE, OVERLOADED, START, book, change, evidence, request

from fallback.core.health import NETWORK
from fallback.core.outages import Outage
from fallback.core.outages.report import as_json, counted, markdown
from fallback.core.outages.timeline import timeline

T = START  # 1970-01-12T13:46:40Z
SAID = evidence("upstream-529: the prompt was: my secret")
ALIVE = evidence("probe answered with 401", source="probe", weight=0.0)
PAGE = evidence("Claude API: major_outage", source="status-page", weight=0.5)


def outage() -> Outage:
    """A minute of overload: each kind of evidence, one request each way."""
    of = book()
    steps = [
        (0, SAID, change("healthy", "suspect", T, because=SAID)),
        (4, PAGE, None),
        (20, SAID, change("suspect", "down", T + 20, because=SAID)),
        (60, ALIVE, change("down", "recovering", T + 60, because=ALIVE)),
        (64, evidence("ok", weight=-2), change("recovering", "healthy", T + 64)),
    ]
    of.noticed(SAID, T - 2)
    for after_s, said, step in steps:
        of.noticed(said, T + after_s)
        if step is not None:
            of.changed(step)
        if after_s == 0:
            asked: dict[str, Any] = {"tier": "local", "outage": "out-1", "reason": "upstream-529"}
            of.finished(request(OVERLOADED, at=T - 0.5, model="a|b\n<i>", **asked), T + 1)
    (told,) = of.finished(request(FINE, at=T + 62, canary=True), T + 64)
    return told


def test_times_are_utc_and_iso_8601() -> None:
    """In both forms, to the millisecond."""
    told = as_json(outage(), now=T + 3600)
    assert (told["began"], told["ended"]) == (
        "1970-01-12T13:46:40.000Z",
        "1970-01-12T13:47:44.000Z",
    )
    assert told["failed_attempts"][0]["request_began"] == "1970-01-12T13:46:39.500Z"
    written = markdown(outage(), now=T + 3600)
    assert "| began | 1970-01-12T13:46:40.000Z |" in written
    assert "| ended | 1970-01-12T13:47:44.000Z |" in written
    assert "| lasted | 0:01:04 (suspect 20 s, down 40 s, recovering 4 s) |" in written


def test_a_provider_finds_its_requests_by_its_own_ids() -> None:
    """Each failed attempt with status, error type, timing and request id."""
    assert as_json(outage(), now=T)["failed_attempts"] == [
        {
            "request_began": "1970-01-12T13:46:39.500Z",
            "operation": "generate",
            "model": "a|b <i>",
            "outcome": "upstream-529",
            "status": 529,
            "error_type": "overloaded_error",
            "after_s": 0.2,
            "request_id": "req_011",
        }
    ]
    row = (
        "| 1970-01-12T13:46:39.500Z | generate | a\\|b &lt;i> "
        "| upstream-529 | 529 | overloaded_error | 0.2 | req_011 |"
    )
    assert row in markdown(outage(), now=T).splitlines()


def test_it_says_what_was_counted_and_how_it_was_measured() -> None:
    """Endpoint, version, attempts, requests, method."""
    written = markdown(outage(), now=T)
    for part in (
        "https://api.anthropic.com",
        "fallback 1.2.3",
        "2 made, 1 failed, 0 too slow.",
        "- by HTTP status: 529: 1, 200: 1",
        "1 affected: answered by local: 1; without a whole answer 0.",
        "## Method of measurement",
    ):
        assert part in written


def test_no_report_quotes_what_was_said_about_a_request() -> None:
    """An error message may hold something of the prompt: its reason stands for it."""
    for written in (markdown(outage(), now=T), json.dumps(as_json(outage(), now=T))):
        assert "secret" not in written
        assert "suspect -> down (request: upstream-529)" in written
    shown = [event.text for event in timeline(outage(), quoting=True)]
    assert "suspect -> down (request: upstream-529: the prompt was: my secret)" in shown


def test_the_timeline_is_in_order_and_tells_a_change_once() -> None:
    """Evidence that tipped the scale stands in its change."""
    assert [(event.at - T, event.text) for event in timeline(outage(), quoting=False)] == [
        (-2, "request: upstream-529"),
        (0, "healthy -> suspect (request: upstream-529)"),
        (4, "status-page: Claude API: major_outage"),
        (20, "suspect -> down (request: upstream-529)"),
        (60, "down -> recovering (probe: probe answered with 401)"),
        (64, "recovering -> healthy (request: ok)"),
    ]


def test_a_long_timeline_says_what_it_leaves_out() -> None:
    """In its place, between the first and the last."""
    of = book()
    of.changed(change("healthy", "down", T))
    for n in range(1, 101):
        of.noticed(evidence(f"upstream-500: {n}"), T + n)
    told = [event.text for event in timeline(of.active[0], quoting=True)]
    at = told.index("... 50 more, not kept")
    assert told[at - 1] == "request: upstream-500: 25"
    assert told[at + 1] == "request: upstream-500: 76"


def test_an_end_that_nobody_saw_is_not_claimed() -> None:
    """Neither one that is not there yet, nor that of another's fault."""
    on = msgspec.structs.replace(outage(), ended=None, watched_until=T + 50)
    assert "| ended | not yet |" in markdown(on, now=T + 51)
    assert "last seen unwell at 1970-01-12T13:47:30.000Z" in markdown(on, now=T + 500)
    assert as_json(on, now=T + 500)["ended"] is None
    network = msgspec.structs.replace(outage(), scope=NETWORK, endpoint="")
    assert "no provider is at fault" in markdown(network, now=T)


def test_tables_are_well_formed_whatever_a_model_is_called() -> None:
    """No name breaks out of its cell."""
    rows = [line for line in markdown(outage(), now=T).splitlines() if line.startswith("|")]
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) in (3, 9)


def test_counts_are_told_with_the_most_frequent_first() -> None:
    """And none as none."""
    assert counted({"a": 1, "b": 3}) == "b: 3, a: 1"
    assert counted({}) == "none"
