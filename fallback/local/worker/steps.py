"""What the scheduler and those who ask it say to each other. Pure: facts, no rules.

A *job* waits, is admitted (`Admit`), computes *chunks* of a *plan*, and ends (`Ended`); or it is
sent back to wait (`Preempt`). How a chunk went is `Sampled`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

State: TypeAlias = Literal["waiting", "prefilling", "decoding"]
Reason: TypeAlias = Literal["end", "max_tokens", "failed", "warmed", "late"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A request as the scheduler sees it. `priority`: higher first; `client`: whom fair shares
    are between.

    `prompt_tokens` counts all that is known at the start, of which the last `output_tokens`
    are already output (forced by a grammar). At most `max_output_tokens` of output in all.
    `cached_tokens` of the beginning need probably not be computed again. The first token is of
    no use after `start_by_s` (the scheduler's clock). A `standby` job only computes its prompt,
    when nobody else wants anything.
    """

    id: int
    prompt_tokens: int
    max_output_tokens: int
    output_tokens: int = 0
    priority: int = 0
    client: str = ""
    standby: bool = False
    cached_tokens: int = 0
    start_by_s: float | None = None

    @property
    def reserved_tokens(self) -> int:
        """The most context this can ever take, guessed tokens included."""
        return self.prompt_tokens + self.max_output_tokens - self.output_tokens


class Admit(msgspec.Struct, frozen=True, kw_only=True):
    """The sequence `id` gets a slot; tell `Scheduler.attached` what lies there already."""

    id: int


class Preempt(msgspec.Struct, frozen=True, kw_only=True):
    """The sequence `id` gives up its slot and waits again; `computed` tokens are worth keeping."""

    id: int
    computed: int = 0


Move: TypeAlias = Admit | Preempt


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """Compute tokens `start` to `stop` of the sequence `id`; sample after the last. Up to
    `drafts` guessed tokens may be computed with them, to be verified in the same step."""

    id: int
    start: int
    stop: int
    sample: bool
    drafts: int = 0


class Plan(msgspec.Struct, frozen=True):
    """One step of the model; may be empty. For a `standby` one nobody waits: it may be put off,
    computed slowly, or left out and chosen anew."""

    chunks: tuple[Chunk, ...]
    standby: bool = False

    @property
    def tokens(self) -> int:
        """How many known tokens the step computes."""
        return sum(chunk.stop - chunk.start for chunk in self.chunks)

    @property
    def drafts(self) -> int:
        """How many guessed tokens the step may compute besides."""
        return sum(chunk.drafts for chunk in self.chunks)


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """What a sampled chunk gave: new tokens, and whether the answer ends there.

    There are none where the model chose to end, or where the sequence failed: then `failure`
    says why. The first `computed` of them were guessed right: they are computed already.
    `drafted` counts the guesses made.
    """

    id: int
    tokens: tuple[int, ...]
    ended: bool
    failure: str | None = None
    computed: int = 0
    drafted: int = 0


class Grew(msgspec.Struct, frozen=True, kw_only=True):
    """The output of `id` has these tokens more."""

    id: int
    tokens: tuple[int, ...]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """The sequence `id` is over, its slot free; `computed` tokens lie in it.

    `warmed`: a standby job's prompt is computed. `late`: it never began, since others took too
    long; `failure` says so to a person, `retry_after_s` when to come again. Any other `failure`
    comes with the reason `failed`.
    """

    id: int
    reason: Reason
    failure: str | None = None
    computed: int = 0
    retry_after_s: int | None = None


Event: TypeAlias = Grew | Ended
