"""The scheduler's steps for standby: small, told as such, and no measure of the model's speed."""

from __future__ import annotations

from scheduling import DECODE_S, DEPTH_S, PREFILL_S, job, make, standby

from fallback.local.worker.scheduler import Admit, Scheduler
from fallback.local.worker.speed import Speed


def admitted(scheduler: Scheduler) -> Scheduler:
    for move in scheduler.admit(0.0):
        if isinstance(move, Admit):
            scheduler.attached(move.id, 0)
    return scheduler


def test_a_step_for_standby_is_as_small_as_is_wanted() -> None:
    """At most so many tokens, and never more than beside running answers."""
    scheduler = make()
    scheduler.add(standby(1, 100), 0.0)
    admitted(scheduler)
    assert [scheduler.schedule(standby_tokens=n).tokens for n in (5, 16, 500)] == [5, 16, 16]
    assert scheduler.schedule().standby


def test_it_bounds_nobody_elses() -> None:
    """A step of one who waits is told as that, and has its whole budget."""
    scheduler = make()
    scheduler.add(job(1, 100), 0.0)
    plan = admitted(scheduler).schedule(standby_tokens=5)
    assert (plan.tokens, plan.standby) == (64, False)


def test_a_step_that_was_left_out_is_chosen_anew() -> None:
    """Choosing changes nothing, so a step that was put off or broken off loses nothing."""
    scheduler = make()
    scheduler.add(standby(1, 100), 0.0)
    first = admitted(scheduler).schedule()
    assert scheduler.schedule() == first
    scheduler.add(job(2, 10), 0.0)
    assert [chunk.id for chunk in admitted(scheduler).schedule().chunks] == [2]


def test_slow_standby_does_not_make_the_model_look_slow() -> None:
    """Standby is computed with fewer threads: what it takes says nothing of an answer's speed."""
    speed = Speed((PREFILL_S, DEPTH_S), (DECODE_S, DEPTH_S))
    before = speed.prefill_s(500)
    scheduler = make(speed)
    scheduler.add(standby(1, 100), 0.0)
    admitted(scheduler)
    for step in range(5):
        scheduler.update(scheduler.schedule(), (), float(step), 30.0)
    assert speed.prefill_s(500) == before
