"""Making a large conversation small enough for the local model, and for the time there is.

The rule, which README states and every provenance reports. A conversation that fits is left
whole. Otherwise system prompt, instructions and tools are cut first, until they leave the turns
what these take, or half of the budget. In this order, each no further than needed:

1. tools that the conversation neither used nor is about, by their names and descriptions: all
   but their signatures, then they;
2. the descriptions of the tools that are left, but for their signatures;
3. of the instructions what is neither their start nor a rule.

Then, until all fits:

4. the middle of long tool results and call arguments; those of the last exchange only where
   they are over an eighth of the budget;
5. the oldest turns and tool exchanges, in blocks, down to the last 1024 tokens of them;
6. the middle of the last exchange's results;
7. the other turns, but for the last user turn and the last exchange after it;
8. the tools that are left, those that were used last;
9. more of the tool results, then all instructions;
10. what follows the last user turn;
11. a tool that has to be called: where the answer must be a tool call, the tool that is named
    (or the first one) stays until here;
12. the last user turn, shortened in the middle with a mark; what an application put before
    the user's own words (the last text of the turn) goes before these.

The last user turn is the last one in which a user says something, rather than a client
returns a tool's result. A tool call is never parted from its result. Instructions are the
system prompt and the system turns before the first answer and since the last user turn; others
are turns like any. A schema for the answer is never cut.

So that the model need not read everything again at each turn, the fitted conversation begins
alike from turn to turn: up to step 8 the turns count as if they had grown to the next of a few
sizes (in a conversation with tool results, and an eighth of the budget for the last of them),
and what is cut is fixed in size or place by these alone.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec

from fallback.core import fit_results, fit_texts, fit_tools, fit_turns
from fallback.core.answer import Cut, CutKind
from fallback.core.conversation import Conversation, ToolResult, Turn
from fallback.core.exchanges import growing_turns, parts_of
from fallback.core.fit_report import report
from fallback.core.fit_steps import Result, Scale, Step
from fallback.core.sizes import size_at_least

_Plan: TypeAlias = Callable[[Conversation, Scale], Step]

# What the turns are beside.
_HEAD: tuple[_Plan, ...] = (
    fit_tools.idle_signatures,
    fit_tools.idle_tools,
    fit_tools.signatures,
    fit_texts.instructions,
)
_TURNS: tuple[_Plan, ...] = (
    fit_turns.old_turns,
    fit_results.results,
    fit_turns.recent_turns,
    fit_tools.tools,
)
# When it comes to every token.
_LAST: tuple[_Plan, ...] = (
    fit_results.short_results,
    fit_texts.all_instructions,
    fit_turns.last_exchange,
    fit_tools.staying_tools,
    fit_texts.user_context,
    fit_texts.user_words,
    fit_turns.everything,
)
_SHARES = (1 / 8, 1 / 8 * 2**0.5, 1 / 4, 1 / 4 * 2**0.5)  # of the budget; else half of it


class Fitted(msgspec.Struct, frozen=True):
    """A conversation that fits, and what was cut from it to make it so."""

    conversation: Conversation
    cuts: tuple[Cut, ...] = ()


def fit(
    conversation: Conversation, budget_tokens: int, count: Callable[[Conversation], int]
) -> Fitted:
    """Cut the conversation down to the budget, by the rule at the head of this file.

    `count` gives the tokens of a whole conversation: it is called once where all fits, else
    about twenty times, and once for each turn alone. Never fails: what is over the budget with
    no turns, tools and instructions left is returned so. The same input gives the same output,
    and a larger budget never keeps less of anything.
    """
    if count(conversation) <= budget_tokens:
        return Fitted(conversation)
    cutting = _Cutting(conversation, budget_tokens, count)
    for plan in _HEAD:
        cutting.apply(plan, cutting.allotted)
    cutting.apply(fit_results.old_results, cutting.roomy)
    cutting.apply(fit_results.results, cutting.latest)
    for plan in _TURNS:
        cutting.apply(plan, cutting.roomy)
    for plan in _LAST:
        cutting.apply(plan, cutting.exact)
    return Fitted(
        cutting.conversation, report(conversation, cutting.conversation, cutting.saved_tokens)
    )


class _Size(NamedTuple):
    """The tokens of a whole conversation; of its turns, as they are and once they are old; and
    what these may come to before more of them is cut."""

    tokens: int
    turns: int
    settled: int
    room: int


class _Cutting:
    """A conversation on its way through the rule."""

    def __init__(
        self, conversation: Conversation, budget: int, count: Callable[[Conversation], int]
    ) -> None:
        self.conversation = conversation
        self.saved_tokens: dict[CutKind, int] = {}
        self._budget = budget
        self._count = count
        self._empty = Conversation(model=conversation.model)
        self._empty_tokens = count(self._empty)
        self._weights: dict[Turn, int] = {}
        self._dropped = 0
        with_tools = any(isinstance(part, ToolResult) for part in parts_of(conversation.turns))
        self._reserve = budget // 8 if with_tools else 0
        self._size = self._measure(Result(conversation))

    def __repr__(self) -> str:
        return f"<_Cutting {self._size} of {self._budget} saved={self.saved_tokens}>"

    def apply(self, plan: _Plan, demand: Callable[[_Size], int]) -> None:
        """Cut by one step as far as it takes, if the demand is over the budget."""
        if demand(self._size) <= self._budget:
            return
        step = plan(self.conversation, Scale(self._weigh_settled, self._dropped))
        if step.levels > 0:
            self._take(step, step.cut(self._lowest_level(step, demand)))

    def allotted(self, size: _Size) -> int:
        """The tokens of all but the turns, and the share of the budget that these get."""
        shares = (int(self._budget * share) for share in _SHARES)
        needed = size.room + self._reserve
        share = next((share for share in shares if share >= needed), self._budget // 2)
        return size.tokens - size.turns + share

    def latest(self, size: _Size) -> int:
        """So that the last results take no more than is kept for them."""
        if self.roomy(size) <= self._budget and size.tokens <= self._budget:
            return 0
        return self._budget + size.turns - size.settled - self._reserve

    def roomy(self, size: _Size) -> int:
        """The tokens with turns that have grown as far as they may."""
        return size.tokens - size.turns + size.room + self._reserve

    def exact(self, size: _Size) -> int:
        """The tokens as they are."""
        return size.tokens

    def _take(self, step: Step, result: Result) -> None:
        before, self._size = self._size.tokens, self._measure(result)
        self.conversation = result.conversation
        self._dropped += result.dropped_tokens
        saved = self.saved_tokens.get(step.what, 0)
        self.saved_tokens[step.what] = saved + before - self._size.tokens

    def _lowest_level(self, step: Step, demand: Callable[[_Size], int]) -> int:
        """The lowest level that fits, or the highest.

        Bisecting one predicate over the same levels keeps the result monotone in the budget
        even where `count` is not quite monotone in the level.
        """

        def fits(level: int) -> bool:
            return demand(self._measure(step.cut(level))) <= self._budget

        if not fits(step.levels):
            return step.levels
        return 1 + bisect_left(range(1, step.levels), True, key=fits)

    def _measure(self, result: Result) -> _Size:
        turns = growing_turns(result.conversation.turns)
        settled = sum(map(self._weigh_settled, turns))
        room = max(settled, result.room_tokens or size_at_least(settled))
        tokens = self._count(result.conversation)
        return _Size(tokens, sum(map(self._weigh, turns)), settled, room)

    def _weigh_settled(self, turn: Turn) -> int:
        return self._weigh(fit_results.settled(turn))

    def _weigh(self, turn: Turn) -> int:
        if turn not in self._weights:
            alone = msgspec.structs.replace(self._empty, turns=(turn,))
            self._weights[turn] = max(1, self._count(alone) - self._empty_tokens)
        return self._weights[turn]
