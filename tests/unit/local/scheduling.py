"""A scheduler with a model that computes nothing, in a time of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fallback.local.worker.scheduler import (
    Admit,
    Chunk,
    Ended,
    Event,
    Grew,
    Job,
    Move,
    Plan,
    Preempt,
    Sampled,
    Scheduler,
)
from fallback.local.worker.speed import Speed

PREFILL_S, DEPTH_S = 5e-3, 1e-6
DECODE_S = 1e-2


def make(speed: Speed | None = None, **changes: Any) -> Scheduler:
    """Two slots that share a thousand tokens, unless told otherwise."""
    settings: dict[str, Any] = {
        "slots": 2,
        "context_tokens": 1000,
        "batch_tokens": 64,
        "mixed_batch_tokens": 16,
        "queue_limit": 4,
        "speed": speed or Speed((PREFILL_S, DEPTH_S), (DECODE_S, DEPTH_S)),
    }
    settings.update(changes)
    settings.setdefault("sequence_tokens", settings["context_tokens"])
    return Scheduler(**settings)


def job(id: int, prompt: int = 10, output: int = 5, **more: Any) -> Job:
    return Job(id=id, prompt_tokens=prompt, max_output_tokens=output, **more)


def standby(id: int, prompt: int = 10) -> Job:
    return job(id, prompt, 0, standby=True)


def one_token(chunk: Chunk) -> Sampled:
    return Sampled(id=chunk.id, tokens=(7,), ended=False)


class Engine:
    """Runs a scheduler as the decode loop does. What was preempted is found again, all of it,
    unless `kept` says otherwise; `sample` gives what a chunk gave."""

    def __init__(
        self, scheduler: Scheduler, sample: Callable[[Chunk], Sampled] = one_token
    ) -> None:
        self.scheduler = scheduler
        self.sample = sample
        self.now = 0.0
        self.kept: dict[int, int] = {}
        self.moves: list[Move] = []
        self.events: list[Event] = []
        self.first_token_at: dict[int, float] = {}

    def add(self, *jobs: Job) -> None:
        for each in jobs:
            self.scheduler.add(each, self.now)

    def admit(self) -> tuple[Move, ...]:
        moves = self.scheduler.admit(self.now)
        for move in moves:
            if isinstance(move, Admit):
                self.scheduler.attached(move.id, self.kept.pop(move.id, 0))
            else:
                self.kept[move.id] = move.computed
        self.moves += moves
        return moves

    def plan(self) -> Plan:
        self.admit()
        return self.scheduler.schedule()

    def step(self) -> Plan:
        plan = self.plan()
        if plan.chunks:
            self.finish(plan, [self.sample(chunk) for chunk in plan.chunks if chunk.sample])
        return plan

    def finish(self, plan: Plan, sampled: list[Sampled]) -> tuple[Event, ...]:
        took_s = self.took_s(plan)
        self.now += took_s
        events = self.scheduler.update(plan, sampled, self.now, took_s)
        for event in events:
            if isinstance(event, Grew):
                self.first_token_at.setdefault(event.id, self.now)
        self.events += events
        return events

    def took_s(self, plan: Plan) -> float:
        looked_back = sum((c.stop - c.start) * (c.start + c.stop) / 2 for c in plan.chunks)
        each_s = PREFILL_S if plan.tokens > len(plan.chunks) else DECODE_S / 2
        fixed_s = 0 if each_s == PREFILL_S else DECODE_S / 2
        return fixed_s + plan.tokens * each_s + looked_back * DEPTH_S

    def until_idle(self, most: int = 100_000) -> None:
        for _ in range(most):
            if not self.scheduler.active and not self.scheduler.queued:
                return
            self.step()
        raise AssertionError(f"not done after {most} steps: {self.scheduler!r}")

    def until(self, id: int, most: int = 10_000) -> float:
        """When the sequence has its first token."""
        for _ in range(most):
            if id in self.first_token_at:
                return self.first_token_at[id]
            self.step()
        raise AssertionError(f"no token of {id} after {most} steps")

    def ended(self) -> dict[int, str]:
        return {e.id: e.reason for e in self.events if isinstance(e, Ended)}

    def preempted(self) -> list[int]:
        return [move.id for move in self.moves if isinstance(move, Preempt)]
