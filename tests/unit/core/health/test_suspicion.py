"""When an outage begins: soon enough, and never by chance."""

import itertools

import pytest
from scene import ALIVE, BROKEN, CLOUD, DEAD, OK, REFUSED, Scene, mixed, requests_until_down, status

from fallback.core.health import Case, State
from fallback.core.outcome import AttemptFacts, Outcome, hedged_away

MINUTE = 60.0


@pytest.mark.parametrize("bad", [BROKEN, REFUSED, status(500)], ids=lambda bad: bad.reason)
def test_a_full_outage_at_one_request_a_minute_is_seen_by_the_fourth(bad: Outcome) -> None:
    """A workstation's traffic is enough, from the first day on."""
    for past in (0, 300):
        scene = Scene()
        scene.warm(requests=past, gap_s=MINUTE)
        sent = requests_until_down(scene, itertools.repeat(bad), gap_s=MINUTE)
        assert sent in (3, 4)


@pytest.mark.parametrize("past", [0, 3000])
def test_a_failed_probe_saves_a_request(past: int) -> None:
    """What the ladder confirms needs one failed request less, and one failed request alone is
    not enough at once."""
    scene = Scene()
    scene.warm(requests=past, gap_s=MINUTE)
    scene.ask(REFUSED)
    scene.after(0.1).signal(DEAD)
    assert scene.state() is State.SUSPECT
    scene.after(MINUTE).ask(REFUSED)
    assert scene.state() is State.DOWN


@pytest.mark.parametrize(
    ("gap_s", "share", "most"),
    [
        (MINUTE, 0.001, 4),
        (MINUTE, 0.01, 5),
        (MINUTE, 0.05, 7),
        (1.0, 0.001, 8),
        (1.0, 0.01, 9),
        (1.0, 0.05, 13),
    ],
)
def test_a_background_of_errors_costs_little(gap_s: float, share: float, most: int) -> None:
    """Where a failure is nothing rare, or many come at once, a few more of them are needed."""
    scene = Scene()
    scene.warm(share, requests=3000, gap_s=gap_s)
    sent = requests_until_down(scene, itertools.repeat(BROKEN), gap_s=gap_s)
    assert sent is not None
    assert sent <= most


def test_a_thousand_requests_a_second_are_not_a_thousand_proofs() -> None:
    """At a high rate it takes a good part of a second, whatever the number of failures."""
    scene = Scene()
    scene.warm(0.01, requests=20_000, gap_s=0.001)
    sent = requests_until_down(scene, itertools.repeat(BROKEN), gap_s=0.001)
    assert sent is not None
    assert 0.1 < sent * 0.001 < 2.0


@pytest.mark.parametrize("gap_s", [MINUTE, 1.0, 0.01])
def test_half_of_the_requests_failing_is_an_outage(gap_s: float) -> None:
    """Successes in between do not hide it."""
    scene = Scene()
    scene.warm(0.01, requests=3000, gap_s=gap_s)
    sent = requests_until_down(scene, mixed(0.5), gap_s=gap_s)
    assert sent is not None
    assert sent <= max(20, 60 / gap_s)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("gap_s", [MINUTE, 1.0])
@pytest.mark.parametrize("bad", [BROKEN, REFUSED], ids=lambda bad: bad.reason)
def test_errors_by_chance_are_no_outage(bad: Outcome, gap_s: float, seed: int) -> None:
    """One in twenty fails, at random, and it never goes down."""
    scene = Scene()
    outcomes = mixed(0.05, seed=seed, bad=bad)
    assert requests_until_down(scene, outcomes, gap_s=gap_s, limit=20_000) is None


def test_one_blink_that_kills_many_requests_is_one_event() -> None:
    """Thirty requests under way are cut at once: that says no more than one failure."""
    scene = Scene()
    scene.warm(requests=100, gap_s=10.0)
    cut = status(502, duration_s=5.0)
    for _ in range(30):
        scene.after(0.001).board.learn(Case(upstream="cloud"), cut, scene.now)
    assert scene.state() is not State.DOWN
    assert scene.board.view(CLOUD, scene.now).score < 0.5


def test_one_failure_is_suspicious_and_successes_forgive_it() -> None:
    """A single failed request never takes an upstream down."""
    scene = Scene()
    scene.ask(BROKEN)
    assert scene.state() is State.SUSPECT
    for _ in range(8):
        scene.after(1.0).ask(OK)
    assert scene.told == ["cloud suspect", "cloud healthy"]
    assert scene.board.view(CLOUD, scene.now).score == 0.0


def test_old_evidence_decays() -> None:
    """Failures hours apart never add up to an outage."""
    scene = Scene()
    for _ in range(24):
        scene.after(2 * 3600.0).ask(REFUSED)
    assert scene.state() is State.SUSPECT


def test_a_live_edge_refutes_a_failure_to_reach_it() -> None:
    """The ladder finds everything in place: then it was a moment's trouble."""
    scene = Scene()
    scene.ask(REFUSED)
    scene.after(1.0).signal(ALIVE)
    assert scene.state() is State.HEALTHY


def test_a_live_edge_refutes_no_error_of_the_models() -> None:
    """An edge that lives proves nothing about inference, until the evidence has decayed."""
    scene = Scene()
    scene.ask(BROKEN)
    scene.after(1.0).signal(ALIVE)
    assert scene.state() is State.SUSPECT
    scene.after(900.0).signal(ALIVE)
    assert scene.state() is State.HEALTHY


@pytest.mark.parametrize(
    "outcome",
    [
        status(400, "invalid_request_error"),
        status(401),
        status(403),
        status(404),
        status(402),
        status(429, "rate_limit_error", retry_after_s=20.0),
        status(503, "cmek_key_disabled"),
    ],
    ids=lambda outcome: f"{outcome.facts.status}-{outcome.reason}",
)
def test_what_is_the_clients_never_counts(outcome: Outcome) -> None:
    """Mistakes, keys, limits and money say nothing about the upstream's health."""
    scene = Scene()
    for _ in range(200):
        scene.after(0.5).ask(outcome, credential="3f2a9c")
    assert scene.state() is State.HEALTHY
    assert scene.board.view(CLOUD, scene.now).score == 0.0


def test_slow_answers_add_up_as_well() -> None:
    """A brownout is found though nothing fails outright."""
    scene = Scene()
    scene.warm(requests=500, gap_s=MINUTE)
    slow = hedged_away(AttemptFacts(phase="content", status=200))
    sent = requests_until_down(scene, itertools.repeat(slow), gap_s=MINUTE)
    assert sent is not None
    assert sent <= 8
