"""Who computes what in the next step. Pure: no tensors, no tokens' meaning, no clock.

Rules of this file:
- A sequence is `waiting`, then `prefilling`, then `decoding`; what ends it removes it. One that
  is preempted waits again, at its old place, and keeps all tokens it is known to have.
- A sequence is two counts: the tokens it is known to have (prompt and output) and how many of
  them the model has computed. A step computes a *chunk* of the difference; the chunk that
  closes it is sampled from, which makes more known tokens. Prefill and decode are thus one.
- Who is first in line gets the next slot, and waits for its context without being overtaken
  (the order of the line: `queueing.py`). It may displace what has lower priority, and an equal
  of a client with two slots more than its own. So a slot never waits for one of less worth.
- While a prompt is read, what has lower priority pauses: its first token comes as on an idle
  engine, after the step under way. Then decoding sequences come first, prompts after them.
- A step never has more tokens than its budget, which is smaller while anyone is decoding.
  Guessed tokens get what prompts leave of it.
- A sequence is admitted only when its prompt and all its possible output fit in a slot
  (`layout.py`): the model's memory cannot overflow. Guesses lie within that, too.
- Standby jobs run one at a time, in the smaller steps, and only when there is no other job at
  all: the first one that comes has them preempted.
- What cannot begin in time is refused when it comes, or ended (`late`) while it waits, as soon
  as that is sure. Nothing that has begun is ever given up.

    moves = scheduler.admit(now); slots = scheduler.split(slots)
    scheduler.attached(id, computed)
    plan = scheduler.schedule(); sampled = llama.run(plan)
    events = scheduler.update(plan, sampled, now, took_s)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from fallback.local.worker.batching import next_step
from fallback.local.worker.fair_shares import Account, FairShares
from fallback.local.worker.forecast import Forecast
from fallback.local.worker.gate import Gate
from fallback.local.worker.layout import Layout
from fallback.local.worker.queueing import Sequence, slots_held, turns, victims
from fallback.local.worker.refusal import gave_way
from fallback.local.worker.speed import Speed, Work
from fallback.local.worker.steps import (
    Admit,
    Chunk,
    Ended,
    Event,
    Grew,
    Job,
    Move,
    Plan,
    Preempt,
    Reason,
    Sampled,
    State,
)

__all__ = [
    "Admit",
    "Chunk",
    "Ended",
    "Event",
    "Grew",
    "Job",
    "Move",
    "Plan",
    "Preempt",
    "Sampled",
    "Scheduler",
    "State",
]


class Scheduler:
    """Continuous batching over at most `slots` sequences that share `context_tokens`, of which
    one may have `sequence_tokens`. `queue_limit` jobs may wait besides. `now` is any clock's, in
    seconds."""

    def __init__(
        self,
        *,
        slots: int,
        sequence_tokens: int,
        context_tokens: int,
        batch_tokens: int,
        mixed_batch_tokens: int,
        queue_limit: int,
        speed: Speed,
    ) -> None:
        if not slots <= mixed_batch_tokens <= batch_tokens:
            raise ValueError("a step must hold a token of each slot: slots <= mixed <= batch")
        self._layout = Layout(slots=slots, context_tokens=context_tokens)
        self._sequence_tokens = min(sequence_tokens, context_tokens)
        self._batch_tokens = batch_tokens
        self._mixed_batch_tokens = mixed_batch_tokens
        self._speed = speed
        self._forecast = Forecast(self._layout, speed)
        self._gate = Gate(slots + queue_limit, self._forecast)
        self._shares = FairShares()
        self._arrivals = 0
        self._waiting: dict[int, Sequence] = {}
        self._running: dict[int, Sequence] = {}

    def __repr__(self) -> str:
        return (
            f"<Scheduler active={self.active}/{self._layout.slots} queued={self.queued}"
            f" reserved={self._reserved_tokens}>"
        )

    def __contains__(self, id: int) -> bool:
        return id in self._waiting or id in self._running

    @property
    def active(self) -> int:
        """Sequences in a slot."""
        return len(self._running)

    @property
    def serving(self) -> int:
        """Sequences in a slot that somebody waits for."""
        return sum(not sequence.job.standby for sequence in self._running.values())

    @property
    def queued(self) -> int:
        """Sequences waiting for one."""
        return len(self._waiting)

    @property
    def kv_tokens(self) -> int:
        """Tokens that those in a slot have computed."""
        return sum(sequence.computed for sequence in self._running.values())

    def state(self, id: int) -> State:
        """The state of a sequence. Raises `KeyError` if there is none."""
        return self._sequence(id).state

    def computed(self, id: int) -> int:
        """How many tokens lie in a sequence's slot; 0 while it waits. Raises `KeyError` if there
        is none."""
        sequence = self._sequence(id)
        return sequence.computed if sequence.running else 0

    def expected_wait_s(self, now: float, priority: int = 0, client: str = "") -> float:
        """How long a usual job that came now would wait until the model begins with it."""
        tokens = min(self._sequence_tokens, self._layout.context_tokens // self._layout.slots)
        job = Job(
            id=-1,
            prompt_tokens=1,
            max_output_tokens=tokens - 1,
            priority=priority,
            client=client,
        )
        return self._wait_s(self._newcomer(job, now), now)

    def add(self, job: Job, now: float) -> None:
        """Take a job in. Raises `EngineBusy`, with the expected wait, when too many wait or when
        it could not begin in time; `ValueError` for one that could never run."""
        if job.id in self:
            raise ValueError(f"there is a sequence {job.id} already")
        if not 0 < job.prompt_tokens <= job.reserved_tokens <= self._sequence_tokens:
            raise ValueError(f"{job} does not fit a context of {self._sequence_tokens} tokens")
        newcomer = self._newcomer(job, now)
        self._gate.check(newcomer, self._running.values(), self._waiting.values(), now)
        self._arrivals += 1
        if not job.standby:
            self._shares.open(newcomer.account)
        self._waiting[job.id] = newcomer

    def cancel(self, id: int) -> bool:
        """End a sequence now, whatever its state; False if there was none."""
        if id not in self:
            return False
        self._remove(self._sequence(id))
        return True

    def admit(self, now: float) -> tuple[Move, ...]:
        """Who gets a slot and who loses it, in the order in which to do it."""
        moves: list[Move] = []
        if not self._waiting:
            return ()
        if any(not s.job.standby for s in self._waiting.values()):
            standby = [s for s in self._running.values() if s.job.standby]
            moves += map(self._preempt, standby)
        while (first := self._first_in_line()) is not None:
            displaced = victims(first, self._running.values(), self._layout, now)
            if displaced is None:
                break
            moves += map(self._preempt, displaced)
            moves.append(self._start(first, now))
        return tuple(moves)

    def split(self, slots: int) -> int:
        """Into how many slots the context should be split for those that were admitted, where it
        is split into `slots` now."""
        return self._layout.split(self._reserved_tokens, slots)

    def attached(self, id: int, computed: int) -> None:
        """An admitted sequence has so many of its first tokens computed already; at least the
        last one known is left, to sample from."""
        sequence = self._running[id]
        if not 0 <= computed < sequence.known:
            raise ValueError(f"{computed} computed tokens of {sequence.known} in {sequence}")
        sequence.attach(computed, self._forecast.cost_s(sequence))

    def schedule(self, *, max_drafts: int = 16, standby_tokens: int | None = None) -> Plan:
        """Choose the next step, changing nothing. Each decoding sequence may get up to
        `max_drafts` guessed tokens; a step for standby up to `standby_tokens`."""
        return next_step(
            self._running.values(),
            batch_tokens=self._batch_tokens,
            mixed_batch_tokens=self._mixed_batch_tokens,
            max_drafts=max_drafts,
            standby_tokens=standby_tokens or self._mixed_batch_tokens,
        )

    def update(
        self, plan: Plan, sampled: Iterable[Sampled], now: float, took_s: float
    ) -> tuple[Event, ...]:
        """Take in what the step gave, and that it took `took_s`. A sequence cancelled meanwhile
        is passed over."""
        results = {one.id: one for one in sampled}
        self._learn(plan, results, took_s)
        events: list[Event] = []
        for chunk in plan.chunks:
            if (sequence := self._running.get(chunk.id)) is not None:
                sequence.computed = chunk.stop
                events += self._grow(sequence, results.get(chunk.id))
        for sequence in self._gate.sent_away(self._running.values(), self._waiting.values(), now):
            events.append(self._turn_away(sequence, now))
        return tuple(events)

    @property
    def _reserved_tokens(self) -> list[int]:
        return [sequence.job.reserved_tokens for sequence in self._running.values()]

    def _sequence(self, id: int) -> Sequence:
        return self._running.get(id) or self._waiting[id]

    def _newcomer(self, job: Job, now: float) -> Sequence:
        # Nobody pays for what was kept ready unasked.
        account = Account("", 0.0) if job.standby else self._shares.account(job.client)
        newcomer = Sequence(job, account=account, arrival=self._arrivals, now=now)
        newcomer.rest_s = self._forecast.cost_s(newcomer)
        return newcomer

    def _wait_s(self, newcomer: Sequence, now: float) -> float:
        return self._forecast.wait_s(newcomer, self._running.values(), self._waiting.values(), now)

    def _first_in_line(self) -> Sequence | None:
        held = slots_held(self._running.values())
        key = turns(self._waiting.values(), held=held)
        first = min(self._waiting.values(), key=key, default=None)
        return None if first is not None and first.job.standby and self._running else first

    def _start(self, sequence: Sequence, now: float) -> Admit:
        del self._waiting[sequence.job.id]
        self._running[sequence.job.id] = sequence
        sequence.admit(now)
        return Admit(id=sequence.job.id)

    def _preempt(self, sequence: Sequence) -> Preempt:
        del self._running[sequence.job.id]
        self._waiting[sequence.job.id] = sequence
        sequence.wait(self._forecast.cost_s(sequence))
        return Preempt(id=sequence.job.id, computed=sequence.computed)

    def _learn(self, plan: Plan, results: Mapping[int, Sampled], took_s: float) -> None:
        """The model's speed, and what each sequence has cost."""
        works = [_work(chunk, results.get(chunk.id)) for chunk in plan.chunks]
        if not plan.standby:  # which may be computed with fewer threads
            self._speed.learn(works, took_s)
        each_s = took_s / max(1, sum(work.tokens for work in works))
        served_s: dict[Account, float] = {}
        for chunk, work in zip(plan.chunks, works, strict=True):
            if (sequence := self._running.get(chunk.id)) is not None:
                account = sequence.account
                served_s[account] = served_s.get(account, 0.0) + each_s * work.tokens
        self._shares.serve(served_s)

    def _grow(self, sequence: Sequence, sampled: Sampled | None) -> Iterator[Event]:
        id = sequence.job.id
        if sequence.job.standby and not sequence.pending:
            yield self._end(sequence, "warmed")
        if sampled is None:
            return
        sequence.take(sampled)
        if sampled.tokens:
            yield Grew(id=id, tokens=sampled.tokens)
        if reason := sequence.end(sampled):
            yield self._end(sequence, reason, sampled.failure)

    def _end(self, sequence: Sequence, reason: Reason, failure: str | None = None) -> Ended:
        self._remove(sequence)
        if reason in ("end", "max_tokens"):
            self._forecast.answered(sequence.output)
        return Ended(id=sequence.job.id, reason=reason, failure=failure, computed=sequence.computed)

    def _turn_away(self, sequence: Sequence, now: float) -> Ended:
        self._remove(sequence)
        wait_s = self._wait_s(self._newcomer(sequence.job, now), now)
        told = gave_way(waited_s=now - sequence.added_at, wait_s=wait_s)
        return Ended(
            id=sequence.job.id,
            reason="late",
            failure=told.message,
            retry_after_s=told.retry_after_s,
        )

    def _remove(self, sequence: Sequence) -> None:
        id = sequence.job.id
        if self._running.pop(id, None) is None:
            del self._waiting[id]
        if not sequence.job.standby:
            self._shares.close(sequence.account)


def _work(chunk: Chunk, sampled: Sampled | None) -> Work:
    drafted = sampled.drafted if sampled is not None else 0
    return Work(depth=chunk.start, tokens=chunk.stop - chunk.start + drafted)
