"""Whose fault it is, judged from rungs alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.diagnosis import SURE, Diagnosis, Subject, diagnose, needs_witness
from fallback.core.health import NETWORK, upstream_scope
from fallback.core.outcome import Failure
from fallback.core.rungs import Climb, Rung, Step, answer_failure, is_private

API, CONTROL = "api.anthropic.com", "www.google.com"
SUBJECT = Subject(upstream="anthropic", host=API)
UPSTREAM = upstream_scope("anthropic")
PUBLIC = ("160.79.104.10",)
ROUTE = Rung(host=API, step="route")
NO_ROUTE = Rung(host=API, step="route", failure=Failure.NO_ROUTE)


def rungs(*steps: Step, host: str = API, failure: Failure | None = None) -> list[Rung]:
    """Rungs that hold, but for the last where there is a failure."""
    held = [
        Rung(host=host, step=step, addresses=PUBLIC if step == "dns" else ()) for step in steps[:-1]
    ]
    return [*held, Rung(host=host, step=steps[-1], failure=failure)]


def answered(status: int, failure: Failure | None = None, *, tls: bool = True) -> list[Rung]:
    below: list[Step] = ["dns", "tcp", "tls"] if tls else ["dns", "tcp"]
    return [*rungs(*below), Rung(host=API, step="answer", status=status, failure=failure)]


def refused(host: str = API) -> list[Rung]:
    return rungs("dns", "tcp", host=host, failure=Failure.REFUSED)


def nameless(host: str = API) -> list[Rung]:
    return rungs("dns", host=host, failure=Failure.DNS)


STANDS = rungs("dns", "tcp", "tls", host=CONTROL)


def judged(
    climb: Climb, *witnesses: Climb, route: Rung = ROUTE, subject: Subject = SUBJECT
) -> Diagnosis:
    return diagnose(subject, route, climb, witnesses)


SENTENCES = {
    "alive": (judged(answered(401), STANDS), "nobody", f"{API} answers (401)"),
    "no-names": (
        judged(nameless(), nameless(CONTROL)),
        "network",
        f"your network: no DNS for {API} nor for {CONTROL}",
    ),
    "mixed": (
        judged(refused(), nameless(CONTROL)),
        "network",
        f"your network: connection refused by {API} and no DNS for {CONTROL}",
    ),
    "off-line": (
        judged(nameless(), route=NO_ROUTE),
        "network",
        f"your network: no route to the internet, no DNS for {API}",
    ),
    "refused": (
        judged(refused(), STANDS),
        "upstream",
        f"the provider: connection refused by {API}, while {CONTROL} answers",
    ),
    "second-witness": (
        judged(refused(), nameless(CONTROL), rungs("dns", "tcp", "tls", host="other.test")),
        "upstream",
        f"the provider: connection refused by {API}, while other.test answers",
    ),
    "edge-error": (judged(answered(503)), "upstream", f"the provider: {API} answers 503"),
    "silent": (
        judged(rungs("dns", "tcp", "tls", "answer", failure=Failure.TIMEOUT)),
        "upstream",
        f"the provider: no answer from {API}",
    ),
    "page": (
        judged(answered(200, Failure.HTML)),
        "unclear",
        f"unclear: {API} answers 200 with what is not the API's",
    ),
    "alone": (
        judged(refused()),
        "unclear",
        f"unclear: connection refused by {API}, and no control host to compare with",
    ),
    "no-proxy": (
        judged(rungs("proxy", failure=Failure.REFUSED)),
        "proxy",
        "your proxy: connection refused by it",
    ),
    "no-password": (
        judged([Rung(host=API, step="tunnel", status=407, failure=Failure.PROTOCOL)]),
        "proxy",
        f"your proxy: it answers 407 to CONNECT {API}; "
        f"give it a user and a password in upstreams.anthropic.proxy",
    ),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_a_diagnosis_is_one_plain_sentence(case: str) -> None:
    """It blames nobody without a reason, and names the hosts."""
    diagnosis, at_fault, summary = SENTENCES[case]
    assert (diagnosis.at_fault, diagnosis.summary) == (at_fault, summary)
    assert all(evidence.summary == summary for evidence in diagnosis.evidence)


def test_a_lost_network_is_sure_and_clears_the_upstream() -> None:
    """One look is enough: there are witnesses."""
    (evidence,) = judged(nameless(), nameless(CONTROL)).evidence
    assert (evidence.scope, evidence.weight, evidence.alive) == (NETWORK, SURE, False)
    assert evidence.reason == "network-dns"


def test_a_dead_upstream_clears_the_network() -> None:
    """The witness that was reached shows it."""
    against, beside = judged(refused(), STANDS).evidence
    assert (against.scope, against.reason) == (UPSTREAM, "unreachable-refused")
    assert (beside.scope, beside.alive) == (NETWORK, True)


def test_a_verified_error_needs_no_witness() -> None:
    """Who shows the certificate is who speaks."""
    climb = answered(503)
    assert not needs_witness(SUBJECT, climb)
    against, beside = judged(climb, nameless(CONTROL)).evidence
    assert (against.reason, against.weight) == ("upstream-503", 2.0)
    assert (beside.scope, beside.alive) == (NETWORK, True)


@pytest.mark.parametrize(
    ("climb", "lives"),
    [
        (answered(404, Failure.NOT_JSON), True),
        (answered(403, Failure.HTML), True),
        (answered(404, Failure.NOT_JSON, tls=False), False),
        (answered(401, tls=False), True),
        (answered(302, Failure.NOT_JSON), False),
        (answered(500), False),
    ],
    ids=["no-list", "guarded", "plain-no-list", "plain", "redirect", "error"],
)
def test_who_may_say_that_it_lives(climb: Climb, lives: bool) -> None:
    """A portal can answer anything but with the API's form, or under its certificate."""
    assert (judged(climb, STANDS).at_fault == "nobody") is lives


def test_a_portal_in_plain_text_is_the_networks_if_the_witness_is_caught_too() -> None:
    """Else nobody knows who answered."""
    climb = answered(200, Failure.HTML, tls=False)
    caught = rungs("dns", "tcp", "tls", host=CONTROL, failure=Failure.CERTIFICATE)
    assert needs_witness(SUBJECT, climb)
    assert judged(climb, caught).at_fault == "network"
    assert judged(climb, STANDS).at_fault == "unclear"


def test_a_private_address_behind_a_public_name_is_ones_own_network() -> None:
    """Unless every name leads to such a one: that is a portal's trick."""

    def inside(host: str, failure: Failure) -> list[Rung]:
        dns = Rung(host=host, step="dns", addresses=("10.0.0.7",))
        return [dns, Rung(host=host, step="tcp", failure=failure)]

    mine = judged(inside(API, Failure.REFUSED), nameless(CONTROL))
    assert mine.at_fault == "upstream"
    assert [evidence.scope for evidence in mine.evidence] == [UPSTREAM]
    portal = judged(inside(API, Failure.REFUSED), inside(CONTROL, Failure.REFUSED))
    assert portal.at_fault == "network"


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("localhost", True),
        ("llm", True),
        ("llm.local", True),
        ("box.home.arpa", True),
        ("127.0.0.1", True),
        ("192.168.1.4", True),
        ("100.101.102.103", True),
        ("::1", True),
        ("fd00::1", True),
        ("160.79.104.10", False),
        ("198.18.0.7", False),
        ("2606:4700::1", False),
        ("api.anthropic.com", False),
        ("internal.example.com", False),
    ],
)
def test_what_is_private(host: str, private: bool) -> None:
    """By the registries; a local tunnel's made-up addresses stand for public names."""
    assert is_private(host) is private


@pytest.mark.parametrize(
    ("status", "media_type", "body", "whole", "failure"),
    [
        (200, "application/json", b'{"data": []}', True, None),
        (401, "", b'{"error": {}}', True, None),
        (200, "text/html", b"{}", True, Failure.HTML),
        (200, "", b"\n<!DOCTYPE html><html>", True, Failure.HTML),
        (302, "application/json", b"{}", True, Failure.NOT_JSON),
        (200, "application/json", b"", True, Failure.NOT_JSON),
        (200, "application/json", b"[" * 100_000, True, Failure.NOT_JSON),
        (200, "application/json", b' {"data": [', False, None),
        (200, "text/plain", b' {"data": [', False, Failure.NOT_JSON),
    ],
)
def test_the_form_of_an_answer(
    status: int, media_type: str, body: bytes, whole: bool, failure: Failure | None
) -> None:
    """JSON and no redirect; of a long one the beginning has to do."""
    assert answer_failure(status, media_type, body, whole=whole) is failure


def climbs(host: str) -> st.SearchStrategy[list[Rung]]:
    ways: list[list[Step]] = [["dns", "tcp", "tls", "answer"], ["proxy", "tunnel", "tls", "answer"]]
    return st.builds(
        _climb,
        st.just(host),
        st.sampled_from(ways),
        st.integers(1, 4),
        st.none() | st.sampled_from([each for each in Failure if each is not Failure.CLIENT_GONE]),
        st.none() | st.integers(200, 599),
    )


def _climb(
    host: str, way: list[Step], height: int, failure: Failure | None, status: int | None
) -> list[Rung]:
    *below, last = way[:height]
    if failure is None and (last != "answer" or status is None):
        failure = Failure.RESET
    told = status if last in ("answer", "tunnel") else None
    held = [Rung(host=host, step=step) for step in below]
    return [*held, Rung(host=host, step=last, failure=failure, status=told)]


SUBJECTS = st.builds(
    Subject,
    upstream=st.just("anthropic"),
    host=st.just(API),
    private=st.booleans(),
    whole_network=st.booleans(),
)


@given(SUBJECTS, climbs(API), st.lists(climbs(CONTROL), max_size=3), st.booleans())
def test_every_climb_has_a_diagnosis(
    subject: Subject, climb: list[Rung], witnesses: list[list[Rung]], routed: bool
) -> None:
    """Its evidence is about something, agrees with the blame, and never blames the network
    where somebody was reached, nor for an upstream of one's own."""
    diagnosis = judged(climb, *witnesses, route=ROUTE if routed else NO_ROUTE, subject=subject)
    found = {evidence.scope: evidence for evidence in diagnosis.evidence}
    assert len(found) == len(diagnosis.evidence) > 0
    assert diagnosis.summary
    if diagnosis.at_fault == "nobody":
        assert all(evidence.alive for evidence in found.values())
    else:
        assert any(evidence.weight > 0 for evidence in found.values())
        assert not (UPSTREAM in found and found[UPSTREAM].alive)
    blamed = NETWORK in found and found[NETWORK].weight > 0
    reached = any(rung.step == "tls" and rung.failure is None for rung in climb)
    assert not (blamed and (subject.private or reached))
