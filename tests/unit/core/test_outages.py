"""Changes of health, evidence and finished requests -> records of outages."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from outage_events import (
    BAD_KEY,
    ENDPOINT,
    FINE,
    OVERLOADED,
    SILENT,
    SLOW,
    START,
    book,
    change,
    down,
    evidence,
    request,
)

from fallback.core.health import NETWORK, Scope, State, credential_scope, model_scope
from fallback.core.outages import Ends, Outage, OutageBook, brief
from fallback.core.record import FinishedRequest

T = START


def ended(of: OutageBook, *, number: int = 1) -> Outage:
    """Play a whole outage of two minutes."""
    of.changed(change("healthy", "suspect", T, number=number))
    of.changed(change("suspect", "down", T + 20, number=number))
    of.changed(change("down", "recovering", T + 100, number=number))
    outage = of.changed(change("recovering", "healthy", T + 120, number=number))
    assert outage is not None
    return outage


def test_an_outage_has_its_beginning_its_worst_and_its_end() -> None:
    """From the first suspicion to the return, with the time spent in each state."""
    outage = ended(book())
    assert (outage.started, outage.ended, outage.lasted_s) == (T, T + 120, 120)
    assert outage.worst is State.DOWN
    assert outage.spent_s == {"suspect": 20, "down": 80, "recovering": 20}
    assert outage.phase(T + 10_000) == "ended"
    assert (outage.endpoint, outage.software) == (ENDPOINT, "fallback 1.2.3")
    whys = [(t.before.value, t.after.value, t.why) for t in outage.transitions]
    assert whys[1] == ("suspect", "down", "upstream-529: Overloaded")


def test_an_outage_begins_with_what_led_to_it() -> None:
    """Evidence and failed requests of the last minutes, of this scope, are part of it."""
    of = book()
    of.noticed(evidence("upstream-500", scope=model_scope("anthropic", "claude")), T - 5)
    of.noticed(evidence("too old"), T - 301)
    of.noticed(evidence("upstream-502"), T - 5)
    of.finished(request(OVERLOADED, at=T - 400), T - 399)
    of.finished(request(OVERLOADED, at=T - 7, tier="local"), T - 5)
    outage = of.changed(change("healthy", "suspect", T))
    assert outage is not None
    assert [line.text for line in outage.evidence] == ["upstream-502"]
    assert [failure.at for failure in outage.failures] == [T - 7]
    assert outage.requests.answered == {"local": 1}


def test_what_an_earlier_outage_counted_is_not_counted_again() -> None:
    """Of two outages in a row each has its own requests."""
    of = book()
    of.changed(change("healthy", "suspect", T))
    of.finished(request(OVERLOADED, at=T + 1, tier="local"), T + 2)
    of.changed(change("suspect", "healthy", T + 3))
    again = of.changed(change("healthy", "suspect", T + 10, number=2))
    assert again is not None
    assert again.requests.affected == 0


def test_affected_requests_are_counted_by_who_answered_and_why() -> None:
    """Failed over, kept from the cloud, refused, broken: each in its place."""
    of = book()
    of.changed(change("healthy", "down", T))
    for record in (
        request(OVERLOADED, at=T, tier="local", reason="upstream-529", first_content_s=2.0),
        request(at=T, tier="local", outage="out-1", reason="upstream-down", first_content_s=0.5),
        request(at=T, tier="none", outage="out-1", reason="upstream-down", status=503),
        request(SILENT, at=T, reason="stream-reset", ended="broken"),
        request(FINE, at=T, canary=True),
    ):
        of.finished(record, T + 1)
    requests = of.active[0].requests
    assert (requests.affected, requests.failed, requests.canaries) == (4, 2, 1)
    assert requests.answered == {"local": 2}
    assert requests.reasons == {"upstream-529": 1, "upstream-down": 2, "stream-reset": 1}
    assert (requests.first_contents, requests.first_content_total_s) == (2, 2.5)
    assert requests.first_content_max_s == 2.0


def test_attempts_are_told_apart_by_what_came_of_them() -> None:
    """Good ones count as made, slow ones as slow, and only those that failed as failed."""
    of = book()
    of.changed(change("healthy", "down", T))
    of.finished(request(OVERLOADED, OVERLOADED, at=T), T + 1)
    of.finished(request(SILENT, at=T), T + 1)
    of.finished(request(SLOW, at=T, tier="local"), T + 1)
    of.finished(request(FINE, at=T), T + 1)
    (outage,) = of.active
    attempts = outage.attempts
    assert (attempts.made, attempts.failed, attempts.slow) == (5, 3, 1)
    assert attempts.reasons == {"upstream-529": 2, "timeout": 1, "slow": 1, "ok": 1}
    assert attempts.statuses == {"529": 2, "200": 2}
    first = next(iter(outage.failures))
    assert (first.status, first.error_type, first.duration_s, first.request_id) == (
        529,
        "overloaded_error",
        0.2,
        "req_011",
    )


def test_a_request_that_was_under_way_at_the_end_still_counts() -> None:
    """What ends after the outage belongs to it if it began within."""
    of = book()
    ended(of)
    (late,) = of.finished(request(SILENT, at=T + 110, duration_s=20.0), T + 130)
    assert (late.id, late.ended, late.attempts.failed) == ("out-1", T + 120, 1)
    (later,) = of.finished(request(FINE, at=T + 119, duration_s=20.0, canary=True), T + 139)
    assert (later.attempts.made, later.requests.canaries) == (2, 1)
    assert of.finished(request(SILENT, at=T + 121), T + 130) == ()


@pytest.mark.parametrize(
    ("scope", "record", "counts"),
    [
        (NETWORK, request(SILENT, at=T, upstream="openai"), True),
        (credential_scope("anthropic", "3f2a9c"), request(BAD_KEY, at=T), True),
        (credential_scope("anthropic", "3f2a9c"), request(OVERLOADED, at=T), False),
        (model_scope("anthropic", "opus"), request(OVERLOADED, at=T, model="opus-latest"), True),
        (model_scope("anthropic", "opus"), request(OVERLOADED, at=T, model="haiku"), False),
        (model_scope("anthropic", "opus"), request(at=T, tier="local", outage="out-1"), True),
        (model_scope("anthropic", "opus"), request(OVERLOADED, at=T, upstream="openai"), False),
    ],
    ids=str,
)
def test_a_request_counts_where_it_belongs(
    scope: Scope, record: FinishedRequest, counts: bool
) -> None:
    """By the attempts' upstream, model and verdict, or by the outage that tagged the answer."""
    of = book()
    of.changed(change("healthy", "down", T, scope=scope))
    assert bool(of.finished(record, T + 1)) is counts
    assert of.active[0].requests.affected == int(counts)


def test_a_well_cloud_leaves_no_trace() -> None:
    """Without an outage a good request is nobody's evidence."""
    of = book()
    assert of.finished(request(FINE, at=T), T + 1) == ()
    assert of.known == ()


def test_a_suspicion_matters_only_if_somebody_felt_it() -> None:
    """It went by without a failed request: kept in memory, worth no record."""
    of = book()
    of.changed(change("healthy", "suspect", T, because=evidence("probe failed", source="probe")))
    passed = of.changed(change("suspect", "healthy", T + 5))
    assert passed is not None
    assert not passed.matters
    assert of.find("out-1") is passed
    of.changed(change("healthy", "suspect", T + 10, number=2))
    (felt,) = of.finished(request(OVERLOADED, at=T + 11, tier="local"), T + 12)
    assert felt.matters


def test_what_was_the_networks_is_withdrawn_from_the_upstream() -> None:
    """An end by evidence about the network says that the upstream never had an outage."""
    of = book()
    of.changed(change("healthy", "down", T))
    lost = evidence("no route to the control host either", scope=NETWORK, source="probe")
    outage = of.changed(change("down", "healthy", T + 9, because=lost))
    assert outage is not None
    assert outage.cause == NETWORK
    assert outage.phase(T + 9) == "withdrawn"


def test_the_shadow_on_a_model_is_not_an_outage_of_its_own() -> None:
    """A model that was suspected beside its upstream and no more has nothing on record."""
    of, model = book(), model_scope("anthropic", "opus")
    of.changed(change("healthy", "suspect", T))
    of.changed(change("healthy", "suspect", T, number=2, scope=model))
    for outage in ("out-1", "out-2"):
        of.finished(request(OVERLOADED, at=T, tier="local", outage=outage, model="opus"), T + 1)
    wide = of.changed(change("suspect", "healthy", T + 9))
    narrow = of.changed(change("suspect", "healthy", T + 9, number=2, scope=model))
    assert wide is not None
    assert narrow is not None
    assert (wide.matters, narrow.matters) == (True, False)


@pytest.mark.parametrize("worst", ["suspect", "down"])
def test_a_model_that_fails_alone_or_went_down_has_its_own(worst: str) -> None:
    """Nothing was wrong with its upstream, or it was more than a shadow."""
    of, model = book(), model_scope("anthropic", "opus")
    if worst == "down":
        of.changed(change("healthy", "suspect", T))
    of.changed(change("healthy", worst, T, number=2, scope=model))
    of.finished(request(OVERLOADED, at=T, tier="local", outage="out-2"), T + 1)
    outage = of.changed(change(worst, "healthy", T + 9, number=2, scope=model))
    assert outage is not None
    assert outage.matters


def test_the_status_page_is_told_apart_from_the_evidence() -> None:
    """What the provider says of itself stands beside what was observed."""
    of = book()
    of.changed(change("healthy", "down", T))
    of.noticed(evidence("Claude API: major_outage", source="status-page", weight=0.5), T + 60)
    of.noticed(evidence("probe answered with 401", source="probe", weight=0.0), T + 61)
    (outage,) = of.active
    assert [line.text for line in outage.status_page] == ["Claude API: major_outage"]
    assert [(line.text, line.against) for line in outage.evidence] == [
        ("probe answered with 401", False)
    ]


def test_an_outage_that_nobody_watched_to_its_end_has_none() -> None:
    """A killed service falls silent, a stopped one says so: the end is unknown in both."""
    of = book()
    of.changed(change("healthy", "down", T))
    (watched,) = of.watched(T + 50)
    assert watched.phase(T + 60) == "on"
    assert watched.phase(T + 71) == "unknown"
    (stopped,) = of.stopped(T + 55)
    assert stopped.phase(T + 56) == "unknown"
    assert (stopped.ended, stopped.last_known, stopped.lasted_s) == (None, T + 55, 55)
    assert of.active == ()


def test_memory_is_bounded() -> None:
    """Two hundred outages, thousands of requests: what is kept stays small, the counts go on."""
    of = book()
    for number in range(200):
        ended(of, number=number)
    assert len(of.known) == 100
    of.changed(change("healthy", "down", T, number=999))
    for n in range(1000):
        of.finished(request(OVERLOADED, at=T + n, reason=f"reason-{n}"), T + n)
        of.noticed(evidence(f"line {n}"), T + n)
    (outage,) = of.active
    assert outage.requests.affected == 1000
    assert sum(outage.requests.reasons.values()) == 1000
    assert len(msgspec.json.encode(outage)) < 50_000


@given(st.integers(0, 200))
def test_the_ends_of_a_list_are_kept_and_the_middle_is_counted(n: int) -> None:
    """The first and the last stay in their order, and the length is that of all."""
    ends: Ends[int] = Ends()
    for item in range(n):
        ends = ends.plus(item)
    kept = list(ends)
    assert len(ends) == n == len(ends.counted())
    assert kept == [*range(n)][:25] + [*range(25, n)][-25:]


def test_what_was_said_of_a_refused_key_is_not_kept() -> None:
    """It may quote the key."""
    of, key = book(), credential_scope("anthropic", "3f2a9c")
    said = evidence("credential: Incorrect API key provided: sk-secret", scope=key)
    of.noticed(said, T)
    of.changed(change("healthy", "down", T, scope=key, because=said))
    assert b"sk-secret" not in msgspec.json.encode(of.active[0])


_OUTCOMES = st.lists(st.sampled_from([OVERLOADED, SILENT, SLOW, FINE]), max_size=3)
_STEPS: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from(["suspect", "down", "recovering", "healthy"]),
    st.builds(
        dict,
        outcomes=_OUTCOMES,
        tier=st.sampled_from(["cloud", "local", "none"]),
        outage=st.sampled_from([None, "out-1"]),
        status=st.sampled_from([200, 400, 503, None]),
        ended=st.sampled_from(["complete", "broken", "client-gone"]),
    ),
)


@given(st.lists(_STEPS, max_size=30))
def test_whatever_happens_the_counts_add_up(steps: list[Any]) -> None:
    """Each affected request was answered or not, each attempt is counted once, each second is
    spent in one state, and the record can be stored."""
    of, state, now = book(), "healthy", T
    for step in steps:
        now += 7
        if isinstance(step, dict):
            of.finished(request(*step["outcomes"], at=now - 3, **_but(step, "outcomes")), now)
        elif step != state:
            of.changed(change(state, step, now))
            state = step
    of.watched(now)
    for outage in of.known:
        requests, attempts = outage.requests, outage.attempts
        assert requests.affected == sum(requests.answered.values()) + requests.failed
        assert requests.affected == sum(requests.reasons.values())
        assert attempts.made == sum(attempts.reasons.values()) >= attempts.failed + attempts.slow
        assert len(outage.failures) == attempts.failed + attempts.slow
        assert sum(outage.spent_s.values()) == pytest.approx(outage.lasted_s)
        assert msgspec.json.decode(msgspec.json.encode(outage), type=Outage) == outage


def _but(step: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in step.items() if name != key}


def test_what_others_said_is_fit_for_one_line() -> None:
    """Control codes and line ends are gone, and what is endless is cut."""
    of = book()
    said = evidence("upstream-500: \x1b[31mred\nnext" + "x" * 1000)
    of.noticed(said, T)
    of.changed(change("healthy", "down", T, because=said))
    of.finished(request(OVERLOADED, at=T, model="a\x1b[2J\r\n"), T + 1)
    (outage,) = of.active
    lines = [line.text for line in outage.evidence] + [step.why for step in outage.transitions]
    for line in lines:
        assert line.startswith("upstream-500:  [31mred next")
        assert len(line) == 256
    assert [failure.model for failure in outage.failures] == ["a [2J  "]


def test_a_record_survives_its_storage() -> None:
    """JSON and back gives the same record; its brief form the same counts."""
    outage = down()
    assert msgspec.json.decode(msgspec.json.encode(outage), type=Outage) == outage
    assert len(brief(outage).transitions) == len(outage.transitions) == 2
    assert list(brief(outage).transitions) == []
