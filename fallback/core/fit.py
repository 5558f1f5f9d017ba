"""Making a large conversation small enough for the local model, and for the time there is.

The rule, which README states and every provenance reports. A conversation that fits is left
whole. Otherwise system prompt, instructions and tools are cut first, until they leave the turns
what these take: an eighth, a quarter or half of the budget, more only where the last user turn
and the last exchange need it. In this order, each no further than needed:

1. the descriptions of tools, but for their signatures;
2. tools that the conversation neither used nor is about, by their names and descriptions;
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
alike from turn to turn: the share of the turns is one of three, turns go in blocks, of which at
least six tenths of the room are left (`fit_turns`), and old results have fixed sizes. Where there
are tools, an eighth of the budget is kept for the results of the last exchange.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import msgspec

from fallback.core import fit_results, fit_texts, fit_tools, fit_turns
from fallback.core.answer import Cut, CutKind
from fallback.core.conversation import Conversation, Turn
from fallback.core.exchanges import growing_turns, last_words_and_exchange, leading_instructions
from fallback.core.fit_report import report
from fallback.core.fit_steps import Result, Scale, Step
from fallback.core.sizes import size_at_least

_Plan: TypeAlias = Callable[[Conversation, Scale], Step]

# Until the turns have their share.
_HEAD: tuple[_Plan, ...] = (
    fit_tools.signatures,
    fit_tools.idle_tools,
    fit_texts.instructions,
)
# Until the turns have room to grow.
_TURNS: tuple[_Plan, ...] = (
    fit_turns.old_turns,
    fit_results.results,
    fit_turns.recent_turns,
)
# Until all fits, to the token.
_LAST: tuple[_Plan, ...] = (
    fit_tools.tools,
    fit_results.short_results,
    fit_texts.all_instructions,
    fit_turns.last_exchange,
    fit_tools.staying_tools,
    fit_texts.user_context,
    fit_texts.user_words,
    fit_turns.everything,
)
_SHARES = (8, 4)  # one of so many parts of the budget; else half of it


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
        cutting.apply(plan, cutting.head_fits)
    cutting.allow_turns()
    cutting.apply(fit_results.old_results, cutting.turns_fit)
    cutting.apply(fit_results.results, cutting.last_results_fit)
    for plan in _TURNS:
        cutting.apply(plan, cutting.turns_fit)
    for plan in _LAST:
        cutting.apply(plan, cutting.all_fits)
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
        self._leading = leading_instructions(conversation.turns)
        self._reserve = budget // 8 if conversation.tools else 0
        self._size = self._measure(Result(conversation))
        self._allowance = max(self._share(self._size.room), self._least_turns())

    def __repr__(self) -> str:
        return f"<_Cutting {self._size} of {self._budget} saved={self.saved_tokens}>"

    def apply(self, plan: _Plan, fits: Callable[[_Size], bool]) -> None:
        """Cut by one step as far as it takes, if anything does not fit."""
        if fits(self._size):
            return
        step = plan(self.conversation, Scale(self._weigh_settled, self._dropped, self._leading))
        if step.levels > 0:
            self._take(step, step.cut(self._lowest_level(step, fits)))

    def head_fits(self, size: _Size) -> bool:
        """Whether all but the turns leaves these their share of the budget."""
        return size.tokens - size.turns + self._allowance <= self._budget

    def allow_turns(self) -> None:
        """Give the turns what is left: all of it where nothing was cut for them, else no more
        than their share, or a larger budget might keep fewer turns beside one more tool."""
        left = self._budget - (self._size.tokens - self._size.turns)
        self._allowance = min(left, self._allowance) if self.saved_tokens else left

    def turns_fit(self, size: _Size) -> bool:
        """Whether there is room for the turns once they have grown as far as they may."""
        return size.room + self._reserve <= self._allowance

    def last_results_fit(self, size: _Size) -> bool:
        """Whether the last results take no more than is kept for them, or need not care."""
        roomy = self.turns_fit(size) and size.turns <= self._allowance
        return roomy or size.turns - size.settled <= self._reserve

    def all_fits(self, size: _Size) -> bool:
        """Whether the conversation fits as it is."""
        return size.tokens <= self._budget

    def _share(self, room: int) -> int:
        shares = (self._budget // parts for parts in _SHARES)
        needed = size_at_least(room) + self._reserve
        return next((share for share in shares if share >= needed), self._budget // 2)

    def _least_turns(self) -> int:
        last = last_words_and_exchange(self.conversation.turns, self._leading)
        return sum(map(self._weigh_settled, last))

    def _take(self, step: Step, result: Result) -> None:
        before, self._size = self._size.tokens, self._measure(result)
        self.conversation = result.conversation
        self._dropped += result.dropped_tokens
        saved = self.saved_tokens.get(step.what, 0)
        self.saved_tokens[step.what] = saved + before - self._size.tokens

    def _lowest_level(self, step: Step, fits: Callable[[_Size], bool]) -> int:
        """The lowest level that fits, or the highest.

        Bisecting one predicate over the same levels keeps the result monotone in the budget
        even where `count` is not quite monotone in the level.
        """

        def fits_at(level: int) -> bool:
            return fits(self._measure(step.cut(level)))

        if not fits_at(step.levels):
            return step.levels
        return 1 + bisect_left(range(1, step.levels), True, key=fits_at)

    def _measure(self, result: Result) -> _Size:
        turns = growing_turns(result.conversation.turns, self._leading)
        settled = sum(map(self._weigh_settled, turns))
        room = settled if result.room_tokens is None else result.room_tokens
        tokens = self._count(result.conversation)
        return _Size(tokens, sum(map(self._weigh, turns)), settled, max(settled, room))

    def _weigh_settled(self, turn: Turn) -> int:
        return self._weigh(fit_results.settled(turn))

    def _weigh(self, turn: Turn) -> int:
        if turn not in self._weights:
            alone = msgspec.structs.replace(self._empty, turns=(turn,))
            self._weights[turn] = max(1, self._count(alone) - self._empty_tokens)
        return self._weights[turn]
