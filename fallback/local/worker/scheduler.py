"""Who computes what in the next step. Pure: no tensors, no tokens' meaning, no clock.

Rules of this file:
- A sequence is `waiting`, then `prefilling`, then `decoding`; what ends it removes it.
- A sequence is two counts: the tokens it is known to have (prompt and output) and how many of
  them the model has computed. A step computes a *chunk* of the difference; the chunk that
  closes it is sampled from, which makes more known tokens. Prefill and decode are thus one.
- Decoding sequences come first, then prefills, in order of priority, then of arrival.
- A step never has more tokens than its budget; the budget is smaller while anyone is decoding.
- A sequence is admitted only when its prompt and all its possible output fit in what is left of
  the shared context: the model's memory cannot overflow. The first in line is never overtaken,
  so a large request is not starved by small ones.

    plan = scheduler.schedule(); sampled = llama.run(plan); events = scheduler.update(plan, sampled)

The place for the reuse of shared prefixes is `_admit`: a sequence that starts with tokens
already computed begins with `computed` above zero.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import msgspec

from fallback.core.errors import EngineBusy

State: TypeAlias = Literal["waiting", "prefilling", "decoding"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the scheduler sees it. `priority`: higher first.

    `prompt_tokens` counts all that is known at the start, of which the last `output_tokens`
    are already output (forced by a grammar). At most `max_output_tokens` of output in all.
    """

    id: int
    prompt_tokens: int
    max_output_tokens: int
    output_tokens: int = 0
    priority: int = 0

    @property
    def reserved_tokens(self) -> int:
        """The most context this can ever take."""
        return self.prompt_tokens + self.max_output_tokens - self.output_tokens


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Compute tokens `start` to `stop` of the sequence `id`, in `slot`; sample after the last."""

    id: int
    slot: int
    start: int
    stop: int
    sample: bool


class Plan(msgspec.Struct, frozen=True):
    """One step of the model; may be empty."""

    chunks: tuple[Chunk, ...]

    @property
    def tokens(self) -> int:
        """How many tokens the step computes."""
        return sum(chunk.stop - chunk.start for chunk in self.chunks)


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What a sampled chunk gave: new tokens, and whether the answer ends there.

    There are none where the model chose to end, or where the sequence failed: then `failure`
    says why.
    """

    id: int
    tokens: tuple[int, ...]
    ended: bool
    failure: str | None = None


class Grew(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `id` has these tokens more."""

    id: int
    tokens: tuple[int, ...]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The sequence `id` is over and its slot free. `failure` only with the reason `failed`."""

    id: int
    reason: Literal["end", "max_tokens", "failed"]
    failure: str | None = None


Event: TypeAlias = Grew | Ended


class _Sequence:
    """One job's counts. `slot` is None while it waits."""

    def __init__(self, job: Job, arrival: int) -> None:
        self.job = job
        self.rank = (-job.priority, arrival)
        self.slot: int | None = None
        self.known = job.prompt_tokens
        self.computed = 0
        self.output = job.output_tokens
        self.sampled = False

    @property
    def state(self) -> State:
        if self.slot is None:
            return "waiting"
        return "decoding" if self.sampled else "prefilling"

    @property
    def pending(self) -> int:
        return self.known - self.computed

    def chunk(self, tokens: int) -> Chunk:
        assert self.slot is not None
        stop = self.computed + tokens
        return Chunk(
            id=self.job.id,
            slot=self.slot,
            start=self.computed,
            stop=stop,
            sample=stop == self.known,
        )


class Scheduler:
    """Continuous batching over `slots` sequences that share `context_tokens`."""

    def __init__(
        self,
        *,
        slots: int,
        context_tokens: int,
        batch_tokens: int,
        mixed_batch_tokens: int,
        queue_limit: int,
    ) -> None:
        if not slots <= mixed_batch_tokens <= batch_tokens:
            raise ValueError("a step must hold a token of each slot: slots <= mixed <= batch")
        self._free_slots = list(reversed(range(slots)))
        self._free_context = context_tokens
        self._context_tokens = context_tokens
        self._batch_tokens = batch_tokens
        self._mixed_batch_tokens = mixed_batch_tokens
        self._queue_limit = queue_limit
        self._arrivals = 0
        self._waiting: dict[int, _Sequence] = {}
        self._running: dict[int, _Sequence] = {}

    def __repr__(self) -> str:
        return (
            f"<Scheduler active={self.active} queued={self.queued}"
            f" free_slots={len(self._free_slots)} free_context={self._free_context}>"
        )

    def __contains__(self, id: int) -> bool:
        return id in self._waiting or id in self._running

    @property
    def active(self) -> int:
        """Sequences in a slot."""
        return len(self._running)

    @property
    def queued(self) -> int:
        """Sequences waiting for one."""
        return len(self._waiting)

    def state(self, id: int) -> State:
        """The state of a sequence. Raises `KeyError` if there is none."""
        return (self._running.get(id) or self._waiting[id]).state

    def add(self, job: Job) -> None:
        """Take a job in. Raises `EngineBusy` when too many wait, `ValueError` for one that
        could never run."""
        if job.id in self:
            raise ValueError(f"there is a sequence {job.id} already")
        if not 0 < job.prompt_tokens <= job.reserved_tokens <= self._context_tokens:
            raise ValueError(f"{job} does not fit a context of {self._context_tokens} tokens")
        if len(self._waiting) >= self._queue_limit + len(self._free_slots):
            raise EngineBusy(
                f"{len(self._waiting)} requests already wait for the local model; try again soon",
                retry_after_s=5,
            )
        self._waiting[job.id] = _Sequence(job, self._arrivals)
        self._arrivals += 1

    def cancel(self, id: int) -> bool:
        """End a sequence now, whatever its state; False if there was none."""
        if self._waiting.pop(id, None) is not None:
            return True
        if id not in self._running:
            return False
        self._release(id)
        return True

    def schedule(self) -> Plan:
        """Admit whom there is room for, and choose the next step."""
        self._admit()
        decoding = [s for s in self._running.values() if s.state == "decoding"]
        prefilling = [s for s in self._running.values() if s.state == "prefilling"]
        # Long forced runs go after the single tokens, so that each decoding sequence has one.
        decoding.sort(key=lambda s: (s.pending, s.rank))
        prefilling.sort(key=lambda s: s.rank)
        budget = self._mixed_batch_tokens if decoding else self._batch_tokens
        return Plan(tuple(_chunks([*decoding, *prefilling], budget)))

    def update(self, plan: Plan, sampled: Iterable[Sampled]) -> tuple[Event, ...]:
        """Take in what the step gave. A sequence cancelled meanwhile is passed over."""
        for chunk in plan.chunks:
            if chunk.id in self._running:
                self._running[chunk.id].computed = chunk.stop
        return tuple(event for one in sampled for event in self._grow(one))

    def _grow(self, sampled: Sampled) -> Iterable[Event]:
        sequence = self._running.get(sampled.id)
        if sequence is None:
            return
        sequence.sampled = True
        sequence.known += len(sampled.tokens)
        sequence.output += len(sampled.tokens)
        if sampled.tokens:
            yield Grew(id=sampled.id, tokens=sampled.tokens)
        if reason := _end(sampled, sequence):
            self._release(sampled.id)
            yield Ended(id=sampled.id, reason=reason, failure=sampled.failure)

    def _admit(self) -> None:
        for sequence in sorted(self._waiting.values(), key=lambda s: s.rank):
            if not self._free_slots or sequence.job.reserved_tokens > self._free_context:
                return
            del self._waiting[sequence.job.id]
            sequence.slot = self._free_slots.pop()
            self._free_context -= sequence.job.reserved_tokens
            self._running[sequence.job.id] = sequence

    def _release(self, id: int) -> None:
        sequence = self._running.pop(id)
        assert sequence.slot is not None
        self._free_slots.append(sequence.slot)
        self._free_context += sequence.job.reserved_tokens


def _end(sampled: Sampled, sequence: _Sequence) -> Literal["end", "max_tokens", "failed"] | None:
    if sampled.failure is not None:
        return "failed"
    if sampled.ended:
        return "end"
    return "max_tokens" if sequence.output >= sequence.job.max_output_tokens else None


def _chunks(sequences: Iterable[_Sequence], budget: int) -> Iterable[Chunk]:
    for sequence in sequences:
        tokens = min(sequence.pending, budget)
        if tokens == 0:
            return
        budget -= tokens
        yield sequence.chunk(tokens)
