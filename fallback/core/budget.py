"""How much of a conversation to read: as much as the context holds and the time allows. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from fallback.core.sizes import sizes_between

LEAST_PROMPT_TOKENS = 256

_AT_ONCE_S = 1.0
_MUCH_SMALLER = 0.5


class Prompt(Protocol):
    """A fitted conversation, tokenized."""

    @property
    def tokens(self) -> Sequence[int]:
        """All of them."""
        ...


PromptT = TypeVar("PromptT", bound=Prompt)


def budget_ladder(room_tokens: int, *, least_tokens: int = LEAST_PROMPT_TOKENS) -> tuple[int, ...]:
    """Budgets to try, the largest first: all the room, then coarse sizes below it.

    They are the same from turn to turn, so that a prompt cut by one of them is found in the
    prefix cache at the next.
    """
    return (room_tokens, *sizes_between(least_tokens, room_tokens))


def choose_budget(
    ladder: Sequence[int],
    within_s: float | None,
    *,
    fit: Callable[[int], PromptT],
    cached_tokens: Callable[[PromptT], int],
    prefill_s: Callable[[int, int], float],
) -> PromptT:
    """The largest prompt that can be read in time; if none can, the soonest read.

    One not much smaller is preferred that can be read at once because most of it was read before:
    a conversation goes on as it was fitted at its last turn, though more could be read by now.

    `fit` makes the prompt for a budget, `cached_tokens` tells how much of its beginning need not
    be read, `prefill_s(tokens, start)` how long it takes to read tokens behind others. Without
    a limit it is the first of the ladder.
    """
    best: PromptT | None = None
    soonest: tuple[float, PromptT] | None = None
    held = math.inf
    for budget in ladder:
        if budget >= held:
            continue
        if best is not None and budget < _MUCH_SMALLER * len(best.tokens):
            break
        prompt = fit(budget)
        if within_s is None:
            return prompt
        held, cached = len(prompt.tokens), cached_tokens(prompt)
        seconds = prefill_s(held - cached, cached)
        if seconds <= min(_AT_ONCE_S, within_s) and cached >= held / 2:
            return prompt
        if best is None and seconds <= within_s:
            best = prompt
        if soonest is None or seconds < soonest[0]:
            soonest = seconds, prompt
    assert soonest is not None, "a ladder has a first rung"
    return soonest[1] if best is None else best
