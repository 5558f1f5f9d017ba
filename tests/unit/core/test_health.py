"""Evidence in, state out; time is an argument."""

import random

import pytest

from fallback.core.health import Board, Detector, Evidence, HealthSettings, State, outage_id

FAILED = Evidence(source="request", weight=2.0, summary="upstream-529")
REFUSED = Evidence(source="request", weight=3.0, summary="unreachable-refused")
OK = Evidence(source="request", weight=-2.0, summary="ok")
ALIVE = Evidence(source="probe", weight=0.0, alive=True, summary="probe answered with 401")


def detector(**settings: float) -> Detector:
    return Detector("cloud", HealthSettings(**settings), now=0.0)  # type: ignore[arg-type]


def down(at: float = 0.0) -> Detector:
    found = detector()
    for _ in range(3):
        found.record(FAILED, at)
    assert found.state is State.DOWN
    return found


def test_one_failure_is_suspicious_and_one_success_forgives_it() -> None:
    """A single failed request never takes an upstream down."""
    found = detector()
    states = []
    for at, evidence in enumerate([FAILED, OK]):
        found.record(evidence, float(at))
        states.append(found.state)
    assert states == [State.SUSPECT, State.HEALTHY]


def test_a_full_outage_at_one_request_a_minute_is_seen_by_the_fourth() -> None:
    """A workstation's traffic is enough: down after three to four failed requests."""
    found = detector()
    states = []
    for minute in range(4):
        found.record(FAILED, minute * 60.0)
        states.append(found.state)
    assert states[-1] is State.DOWN


def test_old_evidence_decays() -> None:
    """Failures hours apart never add up to an outage."""
    found = detector()
    for hour in range(24):
        found.record(REFUSED, hour * 3600.0)
    assert found.state is State.SUSPECT


def test_a_high_rate_goes_by_the_failure_ratio() -> None:
    """Half of twenty outcomes within ten seconds are an outage, though successes outweigh."""
    found = detector(down_score=1000.0)
    found.record(FAILED, 0.0)
    for i in range(30):
        found.record(FAILED if i % 2 else OK, 0.1 * i)
    assert found.state is State.DOWN


def test_a_down_upstream_admits_nobody_until_a_sign_of_life() -> None:
    """While it is down no client's request reaches it, whatever time passes."""
    found = down()
    assert {found.admit(t) for t in (1.0, 100.0, 10_000.0)} == {"closed"}
    found.record(ALIVE, 10_001.0)
    assert found.state is State.RECOVERING
    assert found.admit(10_002.0) == "canary"


def test_recovery_lets_one_canary_through_at_a_time() -> None:
    """The others stay with the local tier until the canary has shown the way."""
    found = down()
    found.record(ALIVE, 10.0)
    assert [found.admit(11.0) for _ in range(3)] == ["canary", "closed", "closed"]
    found.record(OK, 12.0)
    assert found.state is State.HEALTHY
    assert found.admit(13.0) == "open"


def test_a_lost_canary_never_blocks_the_return() -> None:
    """Its lease runs out, and a canary whose client left makes room at once."""
    found = down()
    found.record(ALIVE, 10.0)
    assert found.admit(10.0) == "canary"
    assert found.admit(39.0) == "closed"
    assert found.admit(41.0) == "canary"
    found.release_canary(10.0)
    assert found.admit(41.5) == "closed", "the first one's lease is not the second one's"
    found.release_canary(41.0)
    assert found.admit(42.0) == "canary"


def test_a_failed_canary_goes_back_down_and_waits_longer() -> None:
    """An edge that lives proves nothing: each failed canary doubles the wait for the next."""
    found = down()
    before = found.probe_delay_s(0, 0.0)
    found.record(ALIVE, 10.0)
    assert found.admit(10.0) == "canary"
    found.record(FAILED, 11.0)
    assert found.state is State.DOWN
    assert found.probe_delay_s(0, 0.0) == 2 * before


def test_a_late_success_of_an_old_request_is_a_sign_of_life() -> None:
    """Health never stays down while requests succeed."""
    found = down()
    found.record(OK, 1.0)
    assert found.state is State.RECOVERING


def test_an_outage_keeps_its_id_until_it_is_over() -> None:
    """Suspicion, outage and recovery are one story with one id."""
    found = detector()
    ids = set()
    for at, evidence in enumerate([FAILED, FAILED, FAILED, ALIVE, FAILED, ALIVE]):
        found.record(evidence, float(at))
        ids.add(found.view(float(at)).outage)
    assert ids == {outage_id("cloud", 0.0)}
    found.record(OK, 10.0)
    assert found.view(10.0).outage is None


def test_suspicion_without_traffic_ends_by_a_sign_of_life() -> None:
    """Once the evidence has decayed a live edge is enough, and the probing can stop."""
    found = detector()
    found.record(REFUSED, 0.0)
    states = []
    for at in (10.0, 600.0):
        found.record(ALIVE, at)
        states.append(found.state)
    assert states == [State.SUSPECT, State.HEALTHY]


def test_the_story_tells_each_change_with_its_evidence() -> None:
    """Every change of state can be explained in words."""
    story = [remark.text for remark in down().view(0.0).story]
    assert "healthy -> suspect: upstream-529" in story
    assert "suspect -> down: upstream-529" in story


def test_the_board_tells_of_changes_only() -> None:
    """Observers hear once of each change and never of a repetition."""
    heard: list[str] = []
    board = Board(
        ["a", "b"],
        HealthSettings(),
        now=0.0,
        on_change=lambda name, view: heard.append(f"{name} {view.state.value}"),
    )
    for _ in range(5):
        board.record("a", REFUSED, 0.0)
    board.record("b", OK, 0.0)
    assert heard == ["a suspect", "a down"]


@pytest.mark.parametrize("seed", range(50))
def test_any_history_keeps_the_rules(seed: int) -> None:
    """Random histories: 4xx never move health, memory stays bounded, life ends an outage."""
    rng = random.Random(seed)
    found, now = detector(), 0.0
    neutral = Evidence(source="request", weight=0.0, summary="client-error")
    for _ in range(500):
        now += rng.expovariate(1.0)
        before = found.state
        evidence = rng.choice([FAILED, REFUSED, OK, OK, OK, ALIVE, neutral])
        found.record(evidence, now)
        if evidence is neutral:
            assert found.state is before
        found.admit(now)
        assert len(found.view(now).story) <= 20
    found.record(ALIVE, now)
    found.record(OK, now)
    found.record(OK, now)
    found.record(OK, now + 10_000)
    assert found.state is State.HEALTHY, repr(found)


def test_a_detector_shows_itself() -> None:
    """Its repr is for people who debug."""
    assert repr(down()) == "<Detector cloud down score=6.00>"
