"""One rule of the scheduler each; all of them at once are in `test_scheduler_rules.py`."""

from __future__ import annotations

import pytest
from scheduling import Engine, job, make, one_token, standby

from fallback.core.errors import EngineBusy
from fallback.local.worker.scheduler import Admit, Ended, Grew, Job, Preempt, Sampled
from fallback.local.worker.speed import Speed


def test_states() -> None:
    """A sequence waits, prefills, decodes and is gone."""
    engine = Engine(make(batch_tokens=16))
    scheduler = engine.scheduler
    engine.add(job(1, prompt=20, output=2))
    assert scheduler.state(1) == "waiting"
    engine.step()
    assert scheduler.state(1) == "prefilling"
    assert scheduler.computed(1) == scheduler.kv_tokens == 16
    engine.step()
    assert scheduler.state(1) == "decoding"
    engine.step()
    assert 1 not in scheduler
    assert repr(scheduler) == "<Scheduler active=0/2 queued=0 reserved=[]>"


def test_chunks_cover_the_prompt() -> None:
    """A long prompt is computed in chunks of the step's budget, sampled only after the last."""
    engine = Engine(make())
    engine.add(job(1, prompt=150))
    chunks = [engine.step().chunks[0] for _ in range(3)]
    assert [(c.start, c.stop, c.sample) for c in chunks] == [
        (0, 64, False),
        (64, 128, False),
        (128, 150, True),
    ]


def test_what_is_cached_is_not_computed() -> None:
    """A sequence begins after the tokens that lie in its slot already."""
    engine = Engine(make())
    engine.add(job(1, prompt=50))
    engine.kept[1] = 40
    assert [(c.start, c.stop) for c in engine.plan().chunks] == [(40, 50)]


@pytest.mark.parametrize("computed", [-1, 50])
def test_something_is_left_to_compute(computed: int) -> None:
    """What claims to have all of a prompt, or less than none, is a mistake."""
    engine = Engine(make())
    engine.add(job(1, prompt=50))
    engine.kept[1] = computed
    with pytest.raises(ValueError, match="computed tokens of 50"):
        engine.admit()


def test_decode_first() -> None:
    """While anyone decodes, it goes first and a prefill gets only the small budget's rest."""
    engine = Engine(make())
    engine.add(job(1))
    engine.step()
    engine.add(job(2, prompt=100))
    assert [(c.id, c.stop - c.start) for c in engine.plan().chunks] == [(1, 1), (2, 15)]


def test_forced_run_leaves_the_others_their_token() -> None:
    """A long forced run is cut to the budget, behind the sequences that need one token."""
    engine = Engine(make())
    engine.add(job(1, output=100), job(2))
    run = Sampled(id=1, tokens=tuple(range(50)), ended=False)
    engine.finish(engine.plan(), [run, Sampled(id=2, tokens=(7,), ended=False)])
    assert [(c.id, c.stop - c.start, c.sample) for c in engine.plan().chunks] == [
        (2, 1, True),
        (1, 15, False),
    ]


def test_drafts_get_what_is_left() -> None:
    """Guesses share the rest of the step's budget, up to what the answer may still have."""
    engine = Engine(make())
    engine.add(job(1, output=100), job(2, output=4))
    engine.step()
    plan = engine.plan()
    assert {c.id: c.drafts for c in plan.chunks} == {1: 7, 2: 2}
    assert plan.tokens + plan.drafts <= 16
    assert engine.scheduler.schedule(max_drafts=1).drafts == 2


def test_no_drafts_beside_a_long_prompt() -> None:
    """A prompt takes all that is left of a step: it is certain to be needed."""
    engine = Engine(make())
    engine.add(job(1, output=100))
    engine.step()
    engine.add(job(2, prompt=100))
    assert engine.plan().drafts == 0


def test_right_guesses_are_computed() -> None:
    """Only what was not guessed is left to compute, and all of it is output."""
    engine = Engine(make())
    engine.add(job(1, output=100))
    engine.step()
    events = engine.finish(
        engine.plan(), [Sampled(id=1, tokens=(1, 2, 3), ended=False, computed=2, drafted=7)]
    )
    assert events == (Grew(id=1, tokens=(1, 2, 3)),)
    assert [(c.start, c.stop) for c in engine.plan().chunks] == [(13, 14)]


def test_priority_then_arrival() -> None:
    """Higher priority is admitted first, equal ones in order of arrival."""
    engine = Engine(make(slots=1))
    engine.add(job(1, output=1), job(2, output=1), job(3, output=1, priority=9))
    assert [engine.step().chunks[0].id for _ in range(3)] == [3, 1, 2]


def test_critical_displaces_the_least() -> None:
    """A slot is taken from the lowest priority, and of those from who came last."""
    engine = Engine(make(slots=3))
    engine.add(job(1, output=9, priority=1), job(2, output=9), job(3, output=9))
    engine.step()
    engine.step()
    engine.add(job(4, priority=5))
    assert engine.admit() == (Preempt(id=3, computed=5), Admit(id=4))
    engine.until_idle()
    assert engine.ended() == dict.fromkeys((1, 2, 3, 4), "max_tokens")


def test_displaced_sequences_go_on_where_they_were() -> None:
    """What was preempted has its old place before later ones, and computes nothing twice."""
    engine = Engine(make(slots=1))
    engine.add(job(1, output=3))
    engine.step()
    engine.add(job(2, output=3), job(3, output=1, priority=1))
    engine.step()
    assert engine.preempted() == [1]
    plan = engine.step()
    assert [(c.id, c.start, c.stop) for c in plan.chunks] == [(1, 10, 11)]
    engine.until_idle()
    assert [e.id for e in engine.events if isinstance(e, Ended)] == [3, 1, 2]


def test_context_is_taken_from_lower_priority_as_well() -> None:
    """As many give way as a slot that is large enough needs, and not one if all were too few."""
    engine = Engine(make(slots=4, context_tokens=100))
    engine.add(job(1, prompt=20, priority=2), job(2, prompt=20), job(3, prompt=20))
    engine.admit()
    engine.add(job(4, prompt=70, output=6, priority=1))
    assert engine.admit() == ()
    engine.scheduler.cancel(1)
    assert engine.admit() == (Preempt(id=3), Preempt(id=2), Admit(id=4))


def test_the_context_is_split_for_those_who_run() -> None:
    """One large slot or several small ones; another split only where the present will not do."""
    engine = Engine(make(slots=4, context_tokens=100))
    scheduler = engine.scheduler
    assert scheduler.split(4) == 4
    engine.add(job(1, prompt=40))
    engine.admit()
    assert [scheduler.split(slots) for slots in (1, 2, 4)] == [1, 2, 2]
    engine.add(job(2, prompt=40))
    engine.admit()
    assert [scheduler.split(slots) for slots in (1, 2, 4)] == [2, 2, 2]


def test_lower_priorities_pause_while_a_critical_prompt_is_read() -> None:
    """A critical prompt has whole steps to itself, then all decode together."""
    engine = Engine(make())
    engine.add(job(1, output=50))
    engine.step()
    engine.add(job(2, prompt=100, output=50, priority=1))
    assert [[c.id for c in engine.step().chunks] for _ in range(3)] == [[2], [2], [1, 2]]


def test_context_is_never_overbooked() -> None:
    """The first in line waits for a large enough slot and is not overtaken by one that would
    fit."""
    engine = Engine(make(context_tokens=100))
    engine.add(job(1, prompt=40, output=10), job(2, prompt=60, output=10), job(3, 5, 5))
    assert {c.id for c in engine.plan().chunks} == {1}
    engine.scheduler.cancel(1)
    assert {c.id for c in engine.plan().chunks} == {2}
    engine.scheduler.cancel(2)
    assert {c.id for c in engine.plan().chunks} == {3}


def test_max_tokens() -> None:
    """The last token the limit allows ends the sequence as `max_tokens`."""
    engine = Engine(make())
    engine.add(job(1, output=1))
    engine.step()
    assert engine.events == [
        Grew(id=1, tokens=(7,)),
        Ended(id=1, reason="max_tokens", computed=10),
    ]


def test_end_wins_over_the_limit() -> None:
    """An answer that ends by itself at its limit has ended, not been cut."""
    engine = Engine(make(), lambda chunk: Sampled(id=chunk.id, tokens=(7,), ended=True))
    engine.add(job(1, output=1))
    engine.step()
    assert engine.ended() == {1: "end"}


def test_failure_frees_the_slot() -> None:
    """A sequence that fails ends alone, with its reason."""
    engine = Engine(make())
    engine.add(job(1), job(2))
    broken = Sampled(id=1, tokens=(), ended=False, failure="broken")
    events = engine.finish(engine.plan(), [broken, Sampled(id=2, tokens=(7,), ended=False)])
    assert events[0] == Ended(id=1, reason="failed", failure="broken", computed=10)
    assert engine.scheduler.active == 1


def test_cancelled_within_the_step() -> None:
    """What was cancelled while its step ran gives no event, and its slot is free for the next."""
    engine = Engine(make(slots=1))
    engine.add(job(1), job(2))
    plan = engine.plan()
    assert engine.scheduler.cancel(1)
    assert engine.finish(plan, [one_token(plan.chunks[0])]) == ()
    assert [c.id for c in engine.plan().chunks] == [2]
    assert not engine.scheduler.cancel(1)


def test_an_equal_client_without_a_slot_gets_one() -> None:
    """Who holds two slots more than another gives one up, the last it got, after its turn."""
    engine = Engine(make(slots=3))
    engine.add(*(job(id, output=99, client="many") for id in (1, 2)), job(3, client="many"))
    engine.admit()
    engine.add(job(4, client="one"))
    assert engine.admit() == ()
    engine.now += 2.0
    assert engine.admit() == (Preempt(id=3), Admit(id=4))
    engine.add(job(5, client="one"))
    engine.now += 2.0
    assert engine.admit() == ()


def test_a_short_prompt_of_another_client_goes_first() -> None:
    """A long prompt under way holds up a short one of somebody else by a step at most."""
    engine = Engine(make())
    engine.add(job(1, prompt=450, client="long"))
    engine.step()
    engine.add(job(2, prompt=20, client="short"))
    assert [c.id for c in engine.step().chunks] == [2, 1]


def test_clients_take_turns_in_the_line() -> None:
    """One slot goes to and fro between two clients, however many wait of one of them."""
    engine = Engine(make(slots=1, queue_limit=20))
    engine.add(*(job(id, output=1, client="many") for id in range(6)))
    engine.add(*(job(id, output=1, client="few") for id in range(10, 13)))
    ids = [engine.step().chunks[0].id for _ in range(9)]
    assert [id >= 10 for id in ids[:6]].count(True) == 3


def test_standby_runs_alone_and_ends_warm() -> None:
    """Standby jobs are read one after the other, in small steps, and never sampled."""
    engine = Engine(make())
    engine.add(standby(1, 40), standby(2, 10))
    plans = [engine.step() for _ in range(4)]
    assert [[(c.id, c.stop, c.sample) for c in plan.chunks] for plan in plans] == [
        [(1, 16, False)],
        [(1, 32, False)],
        [(1, 40, False)],
        [(2, 10, False)],
    ]
    assert engine.events == [
        Ended(id=1, reason="warmed", computed=40),
        Ended(id=2, reason="warmed", computed=10),
    ]


def test_standby_steps_are_as_small_as_wanted() -> None:
    """A step for standby says so, keeps to its own limit, and is no measure of the speed."""
    speed = Speed()
    engine = Engine(make(speed))
    engine.add(standby(1, 40))
    engine.admit()
    plan = engine.scheduler.schedule(standby_tokens=3)
    assert plan.standby
    assert plan.tokens == 3
    engine.scheduler.update(plan, [], now=50.0, took_s=50.0)
    assert repr(speed) == repr(Speed())
    engine.add(job(2, 60))
    engine.admit()
    assert engine.scheduler.schedule(standby_tokens=3).tokens == 60


def test_standby_gives_way_at_once() -> None:
    """The first real job preempts standby, though there are slots enough, before it gets one."""
    engine = Engine(make())
    engine.add(standby(1, 40))
    engine.step()
    engine.add(job(2, output=1))
    assert engine.admit() == (Preempt(id=1, computed=16), Admit(id=2))
    assert [[c.id for c in engine.step().chunks] for _ in range(2)] == [[2], [1]]


def test_late_ones_end_while_they_wait() -> None:
    """What can no longer begin in time is told so, with when to come again; who has begun goes on
    whatever the time."""
    engine = Engine(make(slots=1, queue_limit=9))
    engine.add(job(1, output=500, start_by_s=0.3))
    engine.step()
    engine.add(job(2, prompt=10, start_by_s=100.0))
    while engine.now < 0.3:
        engine.step()
    assert engine.ended() == {}
    engine.now = 100.1
    engine.step()
    (late,) = (e for e in engine.events if isinstance(e, Ended))
    assert (late.id, late.reason) == (2, "late")
    assert late.failure is not None
    assert "busy with others for the 100 s that this request waited" in late.failure
    assert late.retry_after_s is not None
    assert 1 <= late.retry_after_s <= 60


def test_what_has_said_something_is_never_late() -> None:
    """A preempted answer is gone on with, however long ago its first token was wanted."""
    engine = Engine(make(slots=1))
    engine.add(job(1, output=9, start_by_s=5.0))
    engine.step()
    engine.add(job(2, output=1, priority=1))
    engine.now = 10.0
    engine.until_idle()
    assert engine.ended() == {2: "max_tokens", 1: "max_tokens"}


def test_queue_is_bounded() -> None:
    """More than the slots and the queue hold is refused, saying what it would have waited."""
    engine = Engine(make(slots=2, queue_limit=1))
    engine.add(*map(job, range(3)))
    with pytest.raises(
        EngineBusy, match=r"answers 0 requests and 3 wait.* wait about .* s;"
    ) as busy:
        engine.add(job(3))
    assert busy.value.retry_after_s == 1


def test_a_full_queue_does_not_keep_out_what_is_critical() -> None:
    """The last of the lowest priority that waits makes room, and is told so."""
    engine = Engine(make(slots=1, queue_limit=2))
    engine.add(job(1), standby(2), job(3))
    engine.admit()
    engine.add(job(4, priority=1))
    engine.step()
    assert engine.ended() == {2: "late"}
    engine.add(job(5, priority=1))
    engine.step()
    with pytest.raises(EngineBusy):
        engine.add(job(6))
    engine.until_idle()
    assert engine.ended() == {2: "late", 3: "late"} | dict.fromkeys((1, 4, 5), "max_tokens")


def test_what_cannot_begin_in_time_is_refused() -> None:
    """The refusal tells the wait, the first token's time, and when it would be accepted."""
    engine = Engine(make(slots=1, queue_limit=9))
    engine.add(job(1, output=900))
    engine.step()
    sentence = (
        r"would wait about 1\.\d s and have its first token after 1\.\d s,"
        r" which was wanted within 0\.5 s; try again in [12] s"
    )
    with pytest.raises(EngineBusy, match=sentence):
        engine.add(job(2, start_by_s=engine.now + 0.5))
    engine.add(job(3, start_by_s=engine.now + 5.0))


def test_an_idle_engine_refuses_nobody() -> None:
    """Late is better than never, where nobody else is to blame."""
    engine = Engine(make())
    engine.add(job(1, prompt=900, start_by_s=0.1))
    engine.until_idle()
    assert engine.ended() == {1: "max_tokens"}


@pytest.mark.parametrize(
    "bad", [job(1, prompt=0), job(1, prompt=490, output=11), job(1, prompt=5, output=-1)]
)
def test_impossible_jobs(bad: Job) -> None:
    """A job that could never run is refused when it comes."""
    with pytest.raises(ValueError, match="does not fit a context of 500"):
        make(sequence_tokens=500).add(bad, 0.0)


def test_same_id_twice() -> None:
    """An id is refused while it is in use."""
    scheduler = make()
    scheduler.add(job(1), 0.0)
    with pytest.raises(ValueError, match="already"):
        scheduler.add(job(1), 0.0)


def test_budget_below_slots() -> None:
    """A budget that cannot hold a token of each slot is refused."""
    with pytest.raises(ValueError, match="each slot"):
        make(slots=4, mixed_batch_tokens=3)
