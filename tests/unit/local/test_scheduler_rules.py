"""What holds whatever comes: jobs, cancellations, guesses right and wrong, lost memory."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from scheduling import make

from fallback.core.errors import EngineBusy
from fallback.local.worker.layout import Layout
from fallback.local.worker.scheduler import (
    Admit,
    Chunk,
    Event,
    Grew,
    Job,
    Plan,
    Preempt,
    Sampled,
)

JOBS = st.fixed_dictionaries(
    {
        "prompt_tokens": st.integers(1, 150),
        "max_output_tokens": st.integers(1, 60),
        "priority": st.integers(0, 2),
        "client": st.sampled_from("abc"),
        "cached_tokens": st.sampled_from((0, 0, 20, 500)),
        "start_in_s": st.sampled_from((None, None, 0.2, 2.0, 100.0)),
    }
)


def a_job(id: int, facts: dict[str, Any], now: float) -> Job:
    start_in_s = facts["start_in_s"]
    start_by_s = None if start_in_s is None else now + start_in_s
    return Job(
        id=id,
        start_by_s=start_by_s,
        **{name: value for name, value in facts.items() if name != "start_in_s"},
    )


class Ledger:
    """What the model would know of one job, kept apart from the scheduler."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.known = job.prompt_tokens
        self.computed = 0
        self.output = job.output_tokens
        self.running = False
        self.decoding = False

    @property
    def level(self) -> float:
        return float("-inf") if self.job.standby else self.job.priority


class Anything(RuleBasedStateMachine):
    """Does anything at any time, and holds the scheduler to what it promises."""

    @initialize(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        self.slots = data.draw(st.integers(1, 4))
        self.mixed = data.draw(st.integers(self.slots, 20))
        self.batch = data.draw(st.integers(self.mixed, 60))
        self.context = data.draw(st.integers(60, 500))
        self.limit = data.draw(st.integers(0, 6))
        self.scheduler = make(
            slots=self.slots,
            sequence_tokens=min(self.context, 220),
            context_tokens=self.context,
            batch_tokens=self.batch,
            mixed_batch_tokens=self.mixed,
            queue_limit=self.limit,
        )
        self.now = 0.0
        self.count = 0
        self.jobs: dict[int, Ledger] = {}
        self.given_out: dict[int, str] = {}

    @rule(facts=JOBS)
    def comes(self, facts: dict[str, Any]) -> None:
        self.add(a_job(self.count, facts, self.now))

    @rule(prompt=st.integers(1, 60))
    def standby_comes(self, prompt: int) -> None:
        self.add(Job(id=self.count, prompt_tokens=prompt, max_output_tokens=0, standby=True))

    def add(self, job: Job) -> None:
        self.count += 1
        if job.reserved_tokens > min(self.context, 220):
            return
        try:
            self.scheduler.add(job, self.now)
        except EngineBusy as busy:
            self.told(busy.message, busy.retry_after_s)
        else:
            self.jobs[job.id] = Ledger(job)

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def is_cancelled(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.jobs)))
        assert self.scheduler.cancel(id)
        self.finish(id, "cancelled")

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def steps(self, data: st.DataObject) -> None:
        self.admit(lambda most: data.draw(st.sampled_from((0, most // 2, most))))
        plan = self.scheduler.schedule(max_drafts=data.draw(st.sampled_from((0, 4, 50))))
        self.check(plan)
        if plan.chunks:
            sampled = [self.sample(chunk, data) for chunk in plan.chunks if chunk.sample]
            self.update(plan, sampled)

    def admit(self, kept: Any) -> None:
        for move in self.scheduler.admit(self.now):
            ledger = self.jobs[move.id]
            if isinstance(move, Preempt):
                assert ledger.running
                assert move.computed == ledger.computed
                ledger.running = False
            else:
                assert isinstance(move, Admit)
                assert not ledger.running
                ledger.running, ledger.decoding = True, False
                ledger.computed = kept(ledger.known - 1)
                self.scheduler.attached(move.id, ledger.computed)
            # Nothing is given that was not taken away before.
            assert sum(each.running for each in self.jobs.values()) <= self.slots

    def check(self, plan: Plan) -> None:
        running = [each for each in self.jobs.values() if each.running]
        assert bool(plan.chunks) == bool(running) == bool(self.jobs)
        assert sum(each.job.reserved_tokens for each in running) <= self.context
        small = any(each.decoding or each.job.standby for each in self.taking_part(plan))
        assert plan.tokens + plan.drafts <= (self.mixed if small else self.batch)
        assert len({chunk.id for chunk in plan.chunks}) == len(plan.chunks)
        for chunk in plan.chunks:
            self.check_chunk(chunk)
        self.check_priorities(plan)

    def check_chunk(self, chunk: Chunk) -> None:
        ledger = self.jobs[chunk.id]
        assert ledger.running
        assert ledger.computed == chunk.start < chunk.stop <= ledger.known
        assert chunk.sample == (chunk.stop == ledger.known and not ledger.job.standby)
        assert chunk.drafts == 0 or (chunk.sample and ledger.decoding)
        assert chunk.stop + chunk.drafts <= ledger.job.reserved_tokens

    def check_priorities(self, plan: Plan) -> None:
        running = [each for each in self.jobs.values() if each.running]
        reading = [each.level for each in running if not each.decoding]
        assert all(
            each.level >= max(reading, default=each.level) for each in self.taking_part(plan)
        )
        if any(not each.job.standby for each in self.jobs.values()):
            assert not any(each.job.standby for each in running)
        waiting = [each for each in self.jobs.values() if not each.running]
        if waiting:
            level = max(each.level for each in waiting)
            first = [each.job.reserved_tokens for each in waiting if each.level == level]
            open_to = [each for each in running if each.level < level]
            stay = [each.job.reserved_tokens for each in running if each.level >= level]
            layout = Layout(slots=self.slots, context_tokens=self.context)
            assert not open_to or not layout.fits([*stay, max(first)])

    def taking_part(self, plan: Plan) -> list[Ledger]:
        return [self.jobs[chunk.id] for chunk in plan.chunks]

    def sample(self, chunk: Chunk, data: st.DataObject) -> Sampled:
        ledger = self.jobs[chunk.id]
        fate = data.draw(st.sampled_from(("goes on",) * 8 + ("ends", "fails")))
        if fate == "fails":
            return Sampled(id=chunk.id, tokens=(), ended=False, failure="broken")
        left = ledger.job.max_output_tokens - ledger.output
        drafted = data.draw(st.integers(0, chunk.drafts))
        right = data.draw(st.integers(0, drafted))
        forced = data.draw(st.sampled_from((0, 0, 0, 9)))
        tokens = min(left, right + 1 + forced)
        return Sampled(
            id=chunk.id,
            tokens=tuple(range(tokens)),
            ended=fate == "ends",
            computed=right,
            drafted=drafted,
        )

    def update(self, plan: Plan, sampled: list[Sampled]) -> None:
        self.now += 0.01 + 0.005 * plan.tokens
        for chunk in plan.chunks:
            self.jobs[chunk.id].computed = chunk.stop
        for one in sampled:
            ledger = self.jobs[one.id]
            ledger.decoding = True
            ledger.computed += one.computed
            ledger.known += len(one.tokens)
        for event in self.scheduler.update(plan, sampled, self.now, 0.01 + 0.005 * plan.tokens):
            self.hear(event)

    def hear(self, event: Event) -> None:
        ledger = self.jobs[event.id]
        if isinstance(event, Grew):
            ledger.output += len(event.tokens)
            assert ledger.output <= ledger.job.max_output_tokens
            return
        if event.reason == "late":
            assert not ledger.running
            assert not ledger.output
            self.told(event.failure or "", event.retry_after_s)
        else:
            assert ledger.running
            assert event.computed == ledger.computed
        if event.reason == "max_tokens":
            assert ledger.output == ledger.job.max_output_tokens
        assert (event.reason == "warmed") <= (ledger.computed == ledger.job.prompt_tokens)
        self.finish(event.id, event.reason)

    def told(self, sentence: str, retry_after_s: int | None) -> None:
        assert self.jobs, "an idle engine refuses nobody"
        assert "wait about" in sentence
        assert retry_after_s is not None
        assert 1 <= retry_after_s <= 60

    def finish(self, id: int, reason: str) -> None:
        assert id not in self.given_out
        self.given_out[id] = reason
        del self.jobs[id]

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "jobs"):
            return
        assert all(id in self.scheduler for id in self.jobs)
        assert not any(id in self.scheduler for id in self.given_out)
        assert self.scheduler.active + self.scheduler.queued == len(self.jobs)
        levels = len({each.level for each in self.jobs.values()})
        assert len(self.jobs) <= levels * (self.slots + self.limit)
        assert self.scheduler.expected_wait_s(self.now, 1, "a") >= 0

    def teardown(self) -> None:
        """Left alone, everyone gets an end, and nothing stays behind."""
        if not hasattr(self, "jobs"):
            return
        for _ in range(20_000):
            if not self.jobs:
                break
            self.admit(lambda most: most)
            plan = self.scheduler.schedule(max_drafts=0)
            self.check(plan)
            done = [Sampled(id=c.id, tokens=(7,), ended=False) for c in plan.chunks if c.sample]
            self.update(plan, done)
        assert not self.jobs
        assert repr(self.scheduler) == f"<Scheduler active=0/{self.slots} queued=0 reserved=[]>"


def test_anything() -> None:
    """No job is lost or ended twice, no slot or context leaks, budgets and priorities hold."""
    run_state_machine_as_test(
        Anything, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )
