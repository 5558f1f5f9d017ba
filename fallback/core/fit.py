"""Making a large conversation small enough for the local model.

The rule, which README states and every provenance reports. A conversation that fits is left
whole. Otherwise these go, one after the other, each no further than needed:

1. tools: those that nobody has used before those that the conversation used, the last of the
   list first. Where the answer must be a tool call, the tool that is named (or the first one)
   stays until step 6;
2. the oldest turns, up to the last user turn;
3. long tool results and call arguments, shortened in the middle, with a mark;
4. the oldest tool exchanges since the last user turn, but for the last one;
5. the system prompt and other instructions, shortened in the middle;
6. the tool that stayed in step 1;
7. what else follows the last user turn;
8. the last user turn, shortened in the middle with a mark; what an application put before
   the user's own words (the last text of the turn) goes before these.

The last user turn is the last one in which a user says something, rather than a client
returns a tool's result. A tool call is never parted from its result. Instructions (system
turns) before the first turn and since the last user turn count as system prompt.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

import msgspec

from fallback.core import fit_steps
from fallback.core.answer import Cut, CutKind
from fallback.core.conversation import Conversation
from fallback.core.fit_steps import Step

_RULE: tuple[Callable[[Conversation], Step], ...] = (
    fit_steps.tools,
    fit_steps.old_turns,
    fit_steps.tool_results,
    fit_steps.old_exchanges,
    fit_steps.instructions,
    fit_steps.staying_tools,
    fit_steps.last_exchange,
    fit_steps.user_context,
    fit_steps.user_words,
    fit_steps.everything,
)


class Fitted(msgspec.Struct, frozen=True):
    """A conversation that fits, and what was cut from it to make it so."""

    conversation: Conversation
    cuts: tuple[Cut, ...] = ()


def fit(
    conversation: Conversation, budget_tokens: int, count: Callable[[Conversation], int]
) -> Fitted:
    """Cut the conversation down to the budget, by the rule at the head of this file.

    `count` gives the tokens of a whole conversation and is the expensive part: it is called
    once where all fits, else about ten to twenty times. Never fails: what is over the budget
    with no turns, tools and instructions left is returned so. The same input gives the same
    output, and a larger budget never keeps less of the last user turn.
    """
    tokens = count(conversation)
    cuts: dict[CutKind, Cut] = {}
    for plan in _RULE:
        if tokens <= budget_tokens:
            break
        step = plan(conversation)
        if step.levels > 0:
            level, left = _lowest_level(step, budget_tokens, count)
            conversation, things = step.cut(level)
            cuts[step.what] = _add(cuts.get(step.what), step.what, things, tokens - left)
            tokens = left
    return Fitted(conversation, tuple(cuts.values()))


def _lowest_level(step: Step, budget: int, count: Callable[[Conversation], int]) -> tuple[int, int]:
    """The lowest level that fits, or the highest, and the tokens that are left at it.

    Bisecting one predicate over the same levels keeps the result monotone in the budget even
    where `count` is not quite monotone in the level.
    """
    counted: dict[int, int] = {}

    def fits(level: int) -> bool:
        counted[level] = count(step.cut(level).conversation)
        return counted[level] <= budget

    level = step.levels
    if fits(level):
        level = 1 + bisect_left(range(1, level), True, key=fits)
    return level, counted[level]


def _add(cut: Cut | None, what: CutKind, things: int, tokens: int) -> Cut:
    before = cut or Cut(what=what, count=0, tokens=0)
    return Cut(what=what, count=before.count + things, tokens=max(0, before.tokens + tokens))
