"""A request made ready for the model: everything decided, nothing computed yet."""

from __future__ import annotations

from typing import Literal

import msgspec

from fallback.core.answer import Cut
from fallback.local.worker.constraint import Constraint
from fallback.local.worker.sampling import SamplerSettings
from fallback.local.worker.steps import Job


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """`tokens` are prompt, prefix and, last, what the grammar forces before the first choice;
    `prefix` is the prefix's text. `thought` are the texts between which reasoning stands
    before the answer, whose `stops` are not looked for in it.

    `input_tokens` counts the prompt alone, of which `cached_tokens` seem to be computed already.
    `start_by_s` is on the decoder's clock. `ease_limit_tokens` is set where the limit in force
    is ours: the model is eased to its end before it. `outcome` is set where no choice is left
    to the model: the answer is over as it stands.
    """

    id: int
    tokens: tuple[int, ...]
    forced: tuple[int, ...]
    input_tokens: int
    max_output_tokens: int
    cached_tokens: int = 0
    priority: int = 0
    client: str = ""
    start_by_s: float | None = None
    cuts: tuple[Cut, ...]
    stops: tuple[str, ...]
    prefix: str
    thought: tuple[str, str] | None = None
    sampler: SamplerSettings
    constraint: Constraint | None = None
    standby: bool = False
    ease_limit_tokens: int | None = None
    outcome: Literal["end", "max_tokens"] | None = None

    @property
    def loosened(self) -> tuple[str, ...]:
        """What the client asked for in schemas and the output is not held to."""
        return () if self.constraint is None else self.constraint.loosened

    @property
    def job(self) -> Job:
        """What the scheduler needs to know."""
        return Job(
            id=self.id,
            prompt_tokens=len(self.tokens),
            max_output_tokens=self.max_output_tokens,
            output_tokens=len(self.forced),
            priority=self.priority,
            client=self.client,
            standby=self.standby,
            cached_tokens=self.cached_tokens,
            start_by_s=self.start_by_s,
        )
