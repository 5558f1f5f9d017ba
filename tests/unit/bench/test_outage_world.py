"""The world of the simulation, and what a request meets in it."""

import math

import numpy as np
import pytest
from outage_sim.agenda import Agenda
from outage_sim.episode import drawn, stage
from outage_sim.race import race
from outage_sim.shapes import SHAPES
from outage_sim.traffic import BAD, POISON, poisson
from outage_sim.world import Condition, Fault, Phase, World, refused, silence, status

from fallback.core.outcome import Failure


def test_a_phase_holds_from_its_start_to_before_its_end() -> None:
    """Before and after it the usual condition holds, and always for other families."""
    sick = Condition(ttft_s=30.0)
    world = World([Phase(start=10.0, end=20.0, condition=sick, families=("large",))])
    met = [world.condition("large", now).ttft_s for now in (9.9, 10.0, 19.9, 20.0)]
    assert met == [0.8, 30.0, 30.0, 0.8]
    assert world.condition("small", 15.0).ttft_s == 0.8


def test_the_draw_decides_between_faults() -> None:
    """Probabilities are shares of [0, 1) in their order; the rest is served."""
    condition = Condition(faults=((0.3, refused()), (0.2, status(503))))
    assert condition.meets(0.29, 0.0) == refused()
    assert condition.meets(0.49, 0.0) == status(503)
    assert condition.meets(0.5, 0.0) == pytest.approx(0.8)


def test_traffic_has_the_shares_it_was_asked_for() -> None:
    """Rate, refused keys and poisoned bodies, within what chance allows."""
    calls = poisson(
        np.random.default_rng(1), rate=2.0, start=0.0, end=5000.0, bad_keys=0.5, poisoned=0.2
    )
    assert len(calls) == pytest.approx(10_000, rel=0.05)
    assert [call.at for call in calls] == sorted(call.at for call in calls)
    assert sum(call.credential == BAD for call in calls) == pytest.approx(5000, rel=0.1)
    assert sum(call.body == POISON for call in calls) == pytest.approx(2000, rel=0.1)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_replays_a_stage(shape: str) -> None:
    """The same seed gives the same requests and the same truth, another one gives others."""
    first, again, other = (stage(shape, rate=0.1, seed=seed) for seed in (1, 1, 2))
    assert first.calls == again.calls
    assert first.outages == again.outages
    assert first.calls != other.calls


@pytest.mark.parametrize("shape", SHAPES)
def test_trouble_ends_with_its_shape(shape: str) -> None:
    """What comes after a shape's length is a well upstream, which is where the return is seen."""
    trouble = drawn(shape, 1)
    ends = [phase.end for phase in trouble.phases] + [outage.end for outage in trouble.outages]
    assert max(ends, default=0.0) <= trouble.length_s


class TestRace:
    def test_a_quick_failure_falls_over_at_once(self) -> None:
        """The client waits as long as the failure took."""
        facts, delay_s = race(status(503), hedge_s=8.0, grace_s=0.0)
        assert (facts.status, facts.duration_s, delay_s) == (503, 0.3, 0.3)

    def test_silence_without_a_hedge_lasts_until_the_deadline(self) -> None:
        """Then it is a timeout."""
        facts, delay_s = race(silence(), hedge_s=math.inf, grace_s=0.0)
        assert (facts.failure, delay_s) == (Failure.TIMEOUT, 20.0)

    def test_silence_with_a_hedge_costs_the_hedge(self) -> None:
        """The local tier wins when it has its first content."""
        facts, delay_s = race(silence(), hedge_s=3.0, grace_s=0.0)
        assert (facts.failure, facts.status) == (Failure.HEDGED, None)
        assert (facts.duration_s, delay_s) == (4.0, 3.0)

    def test_a_slow_answer_loses_to_the_hedge(self) -> None:
        """Its head was there, so it is known to be slow, not silent."""
        facts, delay_s = race(37.0, hedge_s=3.0, grace_s=0.0)
        assert (facts.failure, facts.status, delay_s) == (Failure.HEDGED, 200, 3.0)

    def test_a_slow_answer_without_a_hedge_is_waited_for(self) -> None:
        """It is served, and later than the local tier would have been."""
        facts, delay_s = race(37.0, hedge_s=math.inf, grace_s=0.0)
        assert (facts.status, facts.duration_s, delay_s) == (200, 37.0, 36.0)

    def test_a_canary_wins_within_its_grace(self) -> None:
        """The local tier is ready after one second, and waits."""
        facts, delay_s = race(3.5, hedge_s=0.0, grace_s=4.0)
        assert (facts.status, delay_s) == (200, 2.5)

    def test_beyond_the_deadline_there_is_no_content(self) -> None:
        """Sixty seconds after it began a stream must have some."""
        facts, _ = race(61.0, hedge_s=math.inf, grace_s=0.0)
        assert (facts.failure, facts.duration_s) == (Failure.TIMEOUT, 60.0)


def test_the_agenda_runs_in_order_of_time() -> None:
    """What is due at the same instant keeps its order, and what is put in meanwhile is run."""
    agenda, ran = Agenda(), []
    agenda.at(2.0, lambda now: ran.append(("b", now)))
    agenda.at(1.0, lambda now: agenda.at(2.0, lambda then: ran.append(("c", then))))
    agenda.at(3.0, lambda now: ran.append(("d", now)))
    agenda.run(2.5)
    assert ran == [("b", 2.0), ("c", 2.0)]
    assert agenda.next_at == 3.0


def test_a_fault_is_known_by_what_it_is() -> None:
    """Faults are values: equal where they are alike."""
    assert isinstance(refused(), Fault)
    assert refused() == refused()
