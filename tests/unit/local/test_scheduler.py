from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from fallback.core.errors import EngineBusy
from fallback.local.worker.scheduler import Ended, Grew, Job, Plan, Sampled, Scheduler


def make(
    slots: int = 2,
    context_tokens: int = 1000,
    batch_tokens: int = 64,
    mixed_batch_tokens: int = 16,
    queue_limit: int = 4,
) -> Scheduler:
    return Scheduler(
        slots=slots,
        context_tokens=context_tokens,
        batch_tokens=batch_tokens,
        mixed_batch_tokens=mixed_batch_tokens,
        queue_limit=queue_limit,
    )


def job(id: int, prompt: int = 10, output: int = 5, priority: int = 0) -> Job:
    return Job(id=id, prompt_tokens=prompt, max_output_tokens=output, priority=priority)


def one_token_each(plan: Plan, ended: bool = False) -> list[Sampled]:
    return [Sampled(id=c.id, tokens=(7,), ended=ended) for c in plan.chunks if c.sample]


def step(scheduler: Scheduler) -> Plan:
    plan = scheduler.schedule()
    scheduler.update(plan, one_token_each(plan))
    return plan


def test_states() -> None:
    """A sequence waits, prefills, decodes and is gone."""
    scheduler = make(batch_tokens=16)
    scheduler.add(job(1, prompt=20, output=2))
    assert scheduler.state(1) == "waiting"
    step(scheduler)
    assert scheduler.state(1) == "prefilling"
    step(scheduler)
    assert scheduler.state(1) == "decoding"
    step(scheduler)
    assert 1 not in scheduler
    assert repr(scheduler) == "<Scheduler active=0 queued=0 free_slots=2 free_context=1000>"


def test_chunks_cover_the_prompt() -> None:
    """A long prompt is computed in chunks of the step's budget, sampled only after the last."""
    scheduler = make()
    scheduler.add(job(1, prompt=150))
    chunks = [step(scheduler).chunks[0] for _ in range(3)]
    assert [(c.start, c.stop, c.sample) for c in chunks] == [
        (0, 64, False),
        (64, 128, False),
        (128, 150, True),
    ]


def test_decode_first() -> None:
    """While anyone decodes, it goes first and a prefill gets only the small budget's rest."""
    scheduler = make()
    scheduler.add(job(1))
    step(scheduler)
    scheduler.add(job(2, prompt=100))
    assert [(c.id, c.stop - c.start) for c in scheduler.schedule().chunks] == [(1, 1), (2, 15)]


def test_forced_run_leaves_the_others_their_token() -> None:
    """A long forced run is cut to the budget, behind the sequences that need one token."""
    scheduler = make()
    scheduler.add(job(1, output=100))
    scheduler.add(job(2))
    plan = scheduler.schedule()
    scheduler.update(
        plan,
        [
            Sampled(id=1, tokens=tuple(range(50)), ended=False),
            Sampled(id=2, tokens=(7,), ended=False),
        ],
    )
    plan = scheduler.schedule()
    assert [(c.id, c.stop - c.start, c.sample) for c in plan.chunks] == [
        (2, 1, True),
        (1, 15, False),
    ]


def test_priority_then_arrival() -> None:
    """Higher priority is admitted first, equal ones in order of arrival."""
    scheduler = make(slots=1)
    for id, priority in ((1, 0), (2, 0), (3, 9)):
        scheduler.add(job(id, output=1, priority=priority))
    assert [step(scheduler).chunks[0].id for _ in range(3)] == [3, 1, 2]


def test_context_is_never_overbooked() -> None:
    """The first in line waits for context and is not overtaken by one that would fit."""
    scheduler = make(context_tokens=100)
    scheduler.add(job(1, prompt=60, output=10))
    scheduler.add(job(2, prompt=60, output=10))
    scheduler.add(job(3, prompt=5, output=5))
    assert {c.id for c in scheduler.schedule().chunks} == {1}
    scheduler.cancel(1)
    assert {c.id for c in scheduler.schedule().chunks} == {2, 3}


def test_max_tokens() -> None:
    """The last token the limit allows ends the sequence as `max_tokens`."""
    scheduler = make()
    scheduler.add(job(1, output=1))
    plan = scheduler.schedule()
    assert scheduler.update(plan, one_token_each(plan)) == (
        Grew(id=1, tokens=(7,)),
        Ended(id=1, reason="max_tokens"),
    )


def test_end_wins_over_the_limit() -> None:
    """An answer that ends by itself at its limit has ended, not been cut."""
    scheduler = make()
    scheduler.add(job(1, output=1))
    plan = scheduler.schedule()
    assert scheduler.update(plan, one_token_each(plan, ended=True))[-1] == Ended(id=1, reason="end")


def test_failure_frees_the_slot() -> None:
    """A sequence that fails ends alone, with its reason."""
    scheduler = make()
    scheduler.add(job(1))
    plan = scheduler.schedule()
    events = scheduler.update(plan, [Sampled(id=1, tokens=(), ended=False, failure="broken")])
    assert events == (Ended(id=1, reason="failed", failure="broken"),)
    assert scheduler.active == 0


def test_cancelled_within_the_step() -> None:
    """What was cancelled while its step ran gives no event, and its slot is free for the next."""
    scheduler = make(slots=1)
    scheduler.add(job(1))
    scheduler.add(job(2))
    plan = scheduler.schedule()
    assert scheduler.cancel(1)
    assert scheduler.update(plan, one_token_each(plan)) == ()
    assert [c.id for c in scheduler.schedule().chunks] == [2]
    assert not scheduler.cancel(1)


def test_queue_is_bounded() -> None:
    """More than the slots and the queue hold is refused as busy."""
    scheduler = make(slots=2, queue_limit=1)
    for id in range(3):
        scheduler.add(job(id))
    with pytest.raises(EngineBusy):
        scheduler.add(job(3))


@pytest.mark.parametrize(
    "bad", [job(1, prompt=0), job(1, prompt=990, output=11), job(1, prompt=5, output=-1)]
)
def test_impossible_jobs(bad: Job) -> None:
    """A job that could never run is refused when it comes."""
    with pytest.raises(ValueError, match="does not fit"):
        make().add(bad)


def test_same_id_twice() -> None:
    """An id is refused while it is in use."""
    scheduler = make()
    scheduler.add(job(1))
    with pytest.raises(ValueError, match="already"):
        scheduler.add(job(1))


def test_budget_below_slots() -> None:
    """A budget that cannot hold a token of each slot is refused."""
    with pytest.raises(ValueError, match="each slot"):
        make(slots=4, mixed_batch_tokens=3)


class Simulation:
    """Random arrivals, ends and cancellations; holds what must hold after each step."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.slots = self.random.randint(1, 5)
        self.mixed = self.random.randint(self.slots, 20)
        self.batch = self.random.randint(self.mixed, 60)
        self.context = self.random.randint(40, 400)
        self.scheduler = make(self.slots, self.context, self.batch, self.mixed, queue_limit=8)
        self.jobs: dict[int, Job] = {}
        self.computed: dict[int, int] = {}
        self.finished: dict[int, str] = {}
        self.output: dict[int, int] = {}

    def run(self, arrivals: int) -> None:
        coming = self.arrivals(arrivals)
        arriving = True
        while arriving or self.jobs.keys() - self.finished.keys():
            for _ in range(self.random.randint(0, 2)):
                arriving = next(coming, None) is not None and arriving
            self.maybe_cancel()
            self.step()

    def arrivals(self, count: int) -> Iterator[int]:
        for id in range(count):
            prompt = self.random.randint(1, self.context - 1)
            output = self.random.randint(1, self.context - prompt)
            new = job(id, prompt, output, priority=self.random.randint(0, 2))
            try:
                self.scheduler.add(new)
            except EngineBusy:
                assert self.scheduler.queued >= 8
            else:
                self.jobs[id], self.computed[id], self.output[id] = new, 0, 0
            yield id + 1

    def maybe_cancel(self) -> None:
        running = sorted(self.jobs.keys() - self.finished.keys())
        if running and self.random.random() < 0.05:
            id = self.random.choice(running)
            assert self.scheduler.cancel(id)
            self.finished[id] = "cancelled"

    def step(self) -> None:
        plan = self.scheduler.schedule()
        assert plan.tokens <= self.batch
        slots = [c.slot for c in plan.chunks]
        assert len(set(slots)) == len(slots) <= self.slots
        for chunk in plan.chunks:
            assert chunk.start == self.computed[chunk.id] < chunk.stop
            self.computed[chunk.id] = chunk.stop
        running = self.jobs.keys() - self.finished.keys()
        assert sum(self.computed[id] for id in running) <= self.context
        for event in self.scheduler.update(plan, self.sample(plan)):
            if isinstance(event, Grew):
                self.output[event.id] += len(event.tokens)
            else:
                assert event.id not in self.finished
                self.finished[event.id] = event.reason

    def sample(self, plan: Plan) -> list[Sampled]:
        return [self.draw(chunk.id) for chunk in plan.chunks if chunk.sample]

    def draw(self, id: int) -> Sampled:
        left = self.jobs[id].max_output_tokens - self.output[id]
        tokens = tuple(range(min(left, self.random.choice((1, 1, 1, 6)))))
        return Sampled(id=id, tokens=tokens, ended=self.random.random() < 0.05)


@pytest.mark.parametrize("seed", range(60))
def test_simulation(seed: int) -> None:
    """Whatever comes, every job finishes once, within its budgets, and frees all it held."""
    simulation = Simulation(seed)
    simulation.run(arrivals=60)
    assert simulation.finished.keys() == simulation.jobs.keys()
    for id, reason in simulation.finished.items():
        if reason == "max_tokens":
            assert simulation.output[id] == simulation.jobs[id].max_output_tokens
    assert repr(simulation.scheduler) == (
        f"<Scheduler active=0 queued=0 free_slots={simulation.slots}"
        f" free_context={simulation.context}>"
    )
