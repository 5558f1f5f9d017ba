"""From what happened to figures, stars and reasons."""

import math

import pytest
from msgspec import structs
from outage_sim.background import false_downs, poisson_limit
from outage_sim.episode import Build, play, stage
from outage_sim.figures import Figures
from outage_sim.report import RATES, falsehood_table, shape_table
from outage_sim.rules.envoy import Envoy
from outage_sim.rules.fallback import Fallback
from outage_sim.rules.finagle import Finagle
from outage_sim.rules.registry import RULES
from outage_sim.shapes import Outage
from outage_sim.tally import Tally
from outage_sim.traffic import Call
from outage_sim.verdict import is_first, reasons, standing

OUTAGE = Outage(start=0.0, end=100.0)


def tally(*outages: Outage, asked_again: float = 105.0) -> Tally:
    return Tally(outages, (asked_again,) * len(outages))


def some_figures(**changes: float | None) -> Figures:
    values: dict[str, float | None] = {
        "detect_s": 10.0,
        "return_s": 5.0,
        "false_downs_a_day": 0.0,
        "vain": 4.0,
        "longest_s": 3.0,
        "attempts": 4.0,
        "away": 1.0,
    }
    return Figures(episodes=1, found=1.0, named={}, **(values | changes))  # type: ignore[arg-type]


class TestTally:
    def test_an_outage_is_detected_when_requests_are_kept_from_it(self) -> None:
        """From its start; a closing in an outage is not false."""
        counts = tally(OUTAGE)
        counts.begins(0, ())
        counts.turned(("large", "small"), 7.0)
        assert counts.detected_s == [7.0]
        assert counts.false_downs == 0

    def test_who_was_closed_already_detects_at_once(self) -> None:
        """Flapping: it was never open in between. The first closing was false, once for both."""
        counts = tally(OUTAGE)
        counts.turned(("large", "small"), -5.0)
        counts.begins(0, ("large", "small"))
        assert counts.detected_s == [0.0]
        assert counts.false_downs == 1

    def test_what_is_nobodys_outage_is_falsely_down(self) -> None:
        """A rate limit fails requests, and yet nothing is down."""
        counts = tally(Outage(start=0.0, end=100.0, blame="nobody"))
        counts.turned(("large",), 50.0)
        assert counts.false_downs == 1

    def test_a_model_that_is_well_is_falsely_down_with_the_other(self) -> None:
        """One of two models is down, and the rule closed for both."""
        counts = tally(Outage(start=0.0, end=100.0, families=frozenset({"large"})))
        counts.turned(("large", "small"), 50.0)
        assert counts.false_downs == 1

    def test_the_return_counts_from_the_first_request_after_the_end(self) -> None:
        """Requests answered locally until then were away."""
        counts = tally(OUTAGE)
        counts.ends(0, ("large",))
        counts.kept("large", 105.0)
        counts.served("large", 112.0)
        assert counts.returned_s == [7.0]
        assert counts.away == 1

    def test_who_was_open_at_the_end_has_no_return(self) -> None:
        """There was nothing to return from."""
        counts = tally(OUTAGE)
        counts.turned(("large",), 50.0)
        counts.ends(0, ())
        counts.served("large", 112.0)
        assert counts.returned_s == [None]

    def test_who_never_returns_took_at_least_the_rest(self) -> None:
        """The episode's end is where counting stops."""
        counts = tally(OUTAGE)
        counts.ends(0, ("large",))
        counts.close(400.0)
        assert counts.returned_s == [295.0]

    def test_only_what_is_sent_into_an_outage_counts(self) -> None:
        """Delays over two seconds were waited in vain."""
        counts = tally(OUTAGE)
        counts.sent("large", 10.0, useless=True, delay_s=20.0)
        counts.sent("large", 11.0, useless=True, delay_s=0.3)
        counts.sent("large", 12.0, useless=False, delay_s=1.9)
        counts.sent("large", 150.0, useless=True, delay_s=20.0)
        assert (counts.attempts, counts.vain, counts.longest_s) == (2, 1, 20.0)


class TestVerdict:
    def test_first_is_who_is_not_behind(self) -> None:
        """Equal is within 5 %, or a second; nothing to compare is no defeat."""
        assert is_first("attempts", 4.0, 4.0, 1.0)
        assert is_first("attempts", 104.0, 100.0, 1 / 60)
        assert not is_first("attempts", 110.0, 100.0, 1 / 60)
        assert is_first("attempts", 199.0, 100.0, 100.0)
        assert is_first("return_s", 2.9, 2.0, 100.0)
        assert is_first("return_s", None, 3.0, 1.0)
        assert not is_first("false_downs_a_day", 0.1, 0.0, 100.0)

    def test_a_reason_tells_the_leader_and_its_price(self) -> None:
        """Who is ahead in one column pays in another."""
        peer = some_figures(return_s=1.0, attempts=400.0)
        found = reasons(some_figures(), {"Quick": peer}, 1.0)
        assert found == {"return_s": "Quick 1, ours 5; it pays with attempts 400 (ours 4)"}

    def test_the_standing_counts_what_a_user_feels(self) -> None:
        """Attempts are felt by the upstream; what there was no need for is not counted."""
        peer = some_figures(return_s=1.0, attempts=1.0)
        assert standing(some_figures(), {"Quick": peer}, 1.0) == (5, 6)
        assert standing(some_figures(return_s=None), {"Quick": peer}, 1.0) == (5, 5)

    def test_who_never_noticed_does_not_race_for_the_return(self) -> None:
        """Never having been away is no merit then."""
        blind = structs.replace(some_figures(away=0.0, detect_s=600.0), found=0.0)
        assert "away" not in reasons(some_figures(away=9.0), {"Blind": blind}, 1.0)


@pytest.mark.parametrize(("count", "exact"), [(0, 2.996), (1, 4.744), (10, 16.962), (100, 118.08)])
def test_the_limit_of_a_count_is_near_the_exact_one(count: int, exact: float) -> None:
    """Half the 95 % point of chi-squared, from tables."""
    assert poisson_limit(count) == pytest.approx(exact, rel=0.012)


class SteadyEnvoy(Envoy):
    def idle(self, call: Call, now: float) -> bool:
        return False


class SteadyFallback(Fallback):
    def idle(self, call: Call, now: float) -> bool:
        return False


@pytest.mark.parametrize(
    ("build", "steady", "share"),
    [
        (lambda *_: Envoy(started=0.0), lambda *_: SteadyEnvoy(started=0.0), 0.3),
        (
            lambda agenda, world, random, start: Fallback(agenda, world, random, started=start),
            lambda agenda, world, random, start: SteadyFallback(
                agenda, world, random, started=start
            ),
            0.4,
        ),
    ],
)
def test_counting_successes_at_once_changes_nothing(
    build: Build, steady: Build, share: float
) -> None:
    """A rule that tells when it is idle finds the same false downs as one that never is."""
    quick, slow = (
        false_downs(each, rate=1.0, share=share, days=0.3, seed=3).downs for each in (build, steady)
    )
    assert quick == slow
    assert quick > 0


def test_an_episode_replays() -> None:
    """The same seed gives the same tally, jitter included."""
    scene = stage("dead", rate=1.0, seed=5)
    builds = [lambda agenda, world, random, start: Finagle(random, started=start)] * 2
    first, again = (play(scene, build)[0] for build in builds)
    assert (first.detected_s, first.returned_s) == (again.detected_s, again.returned_s)
    assert first.attempts == again.attempts > 0


def test_tables_have_a_line_for_every_rule() -> None:
    """Ours first and starred, the peers below."""
    values = {name: some_figures() for name in RULES}
    table = shape_table(dict.fromkeys(RATES, values))
    assert table.row_count == len(RULES) * len(RATES)
    assert list(table.columns[3].cells)[:2] == ["10.0 *", "10.0"]


def test_a_count_is_told_with_its_limit() -> None:
    """Zero in a short time proves little, and says so."""
    result = false_downs(lambda *_: Envoy(started=0.0), rate=1.0, share=0.01, days=0.1, seed=1)
    assert result.downs == 0
    assert math.isclose(result.most_a_day, 29.7, rel_tol=0.02)
    table = falsehood_table({("1/s", "1.0%"): {"ours": result, "Envoy": result}})
    assert list(table.columns[3].cells) == ["0 (30)"]
