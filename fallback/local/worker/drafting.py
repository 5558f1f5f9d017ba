"""How much is guessed ahead in a step, and what it was worth. No llama.cpp here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from fallback.local.worker.draft_gate import DraftGate
from fallback.local.worker.steps import Plan, Sampled

# In one step, of all sequences together.
MOST_TOKENS = 32


class Drafter(Protocol):
    """A sequence that can say what may come next; see `llama.sequence.Sequence`."""

    @property
    def id(self) -> int: ...

    @property
    def matched(self) -> int: ...

    def draft(self, limit: int) -> tuple[int, ...]: ...


class _Draft(NamedTuple):
    matched: int
    tokens: int


class Drafting:
    """One for all sequences of a worker. `plain_s` tells how long a step of so many sequences at
    that mean depth takes without drafts; `clock` in seconds."""

    def __init__(
        self,
        plain_s: Callable[[int, float], float],
        clock: Callable[[], float],
        *,
        enabled: bool = True,
    ) -> None:
        self.most_tokens = MOST_TOKENS if enabled else 0
        self._gate = DraftGate()
        self._plain_s = plain_s
        self._clock = clock
        self._left = 0
        self._plan = Plan(())
        self._began = 0.0
        self._drafts: dict[int, _Draft] = {}

    def __repr__(self) -> str:
        return f"<Drafting {self._gate!r}>"

    def begin(self, plan: Plan) -> None:
        """A step is being put together."""
        self._plan = plan
        self._left = self.most_tokens
        self._drafts.clear()
        self._began = self._clock()

    def draft(self, sequence: Drafter, limit: int) -> tuple[int, ...]:
        """What the sequence guesses to come next, as far as it pays; at most `limit` tokens."""
        if not self._left:
            return ()
        matched = sequence.matched
        allowed = self._gate.allowance(matched, len(self._plan.chunks))
        tokens = sequence.draft(min(limit, allowed, self._left))
        self._left -= len(tokens)
        if tokens:
            self._drafts[sequence.id] = _Draft(matched, len(tokens))
        return tokens

    def end(self, sampled: Iterable[Sampled]) -> None:
        """The step was computed: what was guessed right, and what guessing cost."""
        if not self._drafts:
            return
        excess = self._excess()
        drafted = sum(draft.tokens for draft in self._drafts.values())
        for one in sampled:
            if (draft := self._drafts.get(one.id)) is not None:
                self._gate.report(
                    draft.matched,
                    draft.tokens,
                    one.computed,
                    sequences=len(self._plan.chunks),
                    cost_ratio=1.0 + excess * draft.tokens / drafted,
                )

    def _excess(self) -> float:
        """The share by which the drafts made the step longer; as known before, where a prompt
        was read in it too."""
        chunks = self._plan.chunks
        if self._plan.tokens > len(chunks):
            return self._gate.cost * sum(draft.tokens for draft in self._drafts.values())
        depth = sum(chunk.start for chunk in chunks) / len(chunks)
        return (self._clock() - self._began) / self._plain_s(len(chunks), depth) - 1.0
