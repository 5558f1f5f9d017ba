"""Conversations of any length with one fact in them, made from a seed. Pure.

They look like a coding agent's: a system prompt, tools of which some are used, questions and
answers, calls and results, at last a question for the fact. All but the fact is made of a few
dozen words, so that the fact is found by its code alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import msgspec

from fallback.core.conversation import (
    Conversation,
    Sampling,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from fallback.core.fit_results import settled
from planted_facts import places
from planted_facts.places import Place, sure_tokens

QUESTION = "What is the code of the vault? Answer with the code only."
_WORDS = [
    "the",
    "a",
    "of",
    "to",
    "and",
    "in",
    "is",
    "it",
    "for",
    "on",
    "that",
    "with",
    "as",
    "was",
    "at",
    "by",
    "this",
    "are",
    "from",
    "or",
    "one",
    "had",
    "word",
    "but",
    "not",
    "what",
    "all",
    "when",
    "we",
    "there",
    "can",
    "an",
    "your",
    "which",
    "their",
    "said",
    "if",
    "do",
    "will",
    "each",
    "about",
    "how",
    "up",
    "out",
    "them",
    "then",
    "she",
    "many",
    "some",
    "so",
    "these",
    "would",
    "other",
    "into",
    "has",
    "more",
    "her",
    "two",
    "like",
    "him",
    "see",
    "time",
    "could",
    "no",
    "make",
    "than",
    "first",
    "been",
    "its",
    "who",
    "now",
    "people",
    "my",
    "made",
    "over",
    "did",
    "down",
    "way",
    "only",
    "find",
    "use",
    "water",
    "long",
    "little",
    "very",
    "after",
    "call",
    "just",
    "where",
    "most",
    "know",
]
_LONG_RESULT_CHARS = 2600
_BEGUN = 4  # so many turns come before the exchanges
_RESULTS_OF_LATE = (
    places.RECENT_RESULT_HEAD,
    places.RECENT_RESULT_MIDDLE,
    places.RECENT_RESULT_TAIL,
)
_LAST_RESULTS = (places.LAST_RESULT_HEAD, places.LAST_RESULT_MIDDLE, places.LAST_RESULT_TAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Planted:
    """A conversation, where its fact stands, whether the rule promises to keep it, and the code
    that is the fact."""

    conversation: Conversation
    place: Place
    promised: bool
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is wanted: so many tokens by `count` beside the tools (templates without tools leave
    them out), fitted to a budget, the fact in `place`."""

    seed: int
    tokens: int
    budget: int
    place: Place


def make(order: Order, count: Callable[[Conversation], int]) -> Planted:
    """The conversation of that order; the same for the same order."""
    return _Maker(order, count).make()


class _Maker:
    def __init__(self, order: Order, count: Callable[[Conversation], int]) -> None:
        self._order = order
        self._count = count
        self._random = Random(f"{order.seed} {order.tokens} {order.place.name}")
        self._code = "".join(self._random.choices("BCDFGHJKLMNPQRSTVWXZ", k=3)) + str(
            self._random.randint(1000, 9999)
        )
        self._fact = f"The code of the vault is {self._code}. "

    def make(self) -> Planted:
        order = self._order
        base = Conversation(
            model="claude",
            system=self._system(order.tokens // 2),
            tools=tuple(self._tools()),
            turns=self._end(),
            sampling=Sampling(temperature=0.0),
        )
        exchanges: list[tuple[Turn, ...]] = []
        bare = msgspec.structs.replace(base, tools=())
        while self._count(_with(bare, exchanges)) < order.tokens:
            exchanges.append(self._exchange(len(exchanges)))
        where = self._plant(base, exchanges)
        late = where is None or where in self._sure(base, exchanges)
        return Planted(
            conversation=_with(base, exchanges),
            place=order.place,
            promised=order.place.promised and late,
            code=self._code,
        )

    # --- the set-up ------------------------------------------------------------------------

    def _system(self, chars: int) -> str:
        start = "You are a careful assistant. " + self._here(places.SYSTEM_START)
        half = max(900, chars) // 2
        rule = f"You must remember this: {self._fact}" if self._wants(places.SYSTEM_RULE) else ""
        rest = self._here(places.SYSTEM_REST)
        return start + self._prose(half) + rule + rest + self._prose(half)

    def _tools(self) -> Iterator[Tool]:
        for n in range(6):
            first = "Does " + self._sentence()
            if self._wants(places.TOOL_SENTENCE if n == 0 else places.IDLE_TOOL) and n in (0, 4):
                first = self._fact
            rest = self._prose(150) + (self._here(places.TOOL_REST) if n == 0 else "")
            schema = {"type": "object", "properties": {"path": {"type": "string"}}}
            text = f"{first.strip()} {rest}{self._prose(150)}"
            yield Tool(name=f"helper_{n}", description=text, parameters=schema)

    # --- the turns -------------------------------------------------------------------------

    def _exchange(self, n: int) -> tuple[Turn, ...]:
        """A question and its answer, every third time by way of a tool."""
        asked = Turn("user", (Text(self._prose(self._random.randint(20, 160))),))
        said = Turn("assistant", (Text(self._prose(self._random.randint(40, 240))),))
        if n % 3:
            return asked, said
        return asked, *self._called(f"call-{n}", self._prose(self._random.randint(40, 200))), said

    def _called(self, call_id: str, result: str) -> tuple[Turn, Turn]:
        name = f"helper_{self._random.randrange(2)}"
        call = ToolCall(id=call_id, name=name, arguments='{"path": "a.txt"}')
        return (
            Turn("assistant", (call,)),
            Turn("user", (ToolResult(call_id=call_id, text=result),)),
        )

    def _end(self) -> tuple[Turn, ...]:
        """The last user turn, and where the fact is to be in it, the exchange behind it."""
        context = self._prose(120) + self._here(places.LAST_CONTEXT) + self._prose(60)
        words = self._here(places.LAST_WORDS) + QUESTION
        used = self._called("call-used", "done")
        asked = Turn("user", (Text(context), Text(words)))
        said = Turn("assistant", (Text("It is done."),))
        head = (Turn("user", (Text("Begin."),)), *used, said, asked)
        if self._order.place not in _LAST_RESULTS:
            return head
        third = _LAST_RESULTS.index(self._order.place)
        return *head, *self._called("call-last", self._long_result(third))

    def _long_result(self, third: int) -> str:
        """A long result with the fact in its head, its middle or its tail."""
        texts = [self._prose(_LONG_RESULT_CHARS // 2) for _ in range(2)]
        if third == 0:
            return self._prose(100) + self._fact + "".join(texts)
        if third == 1:
            return self._fact.join(texts)
        return "".join(texts) + self._fact + self._prose(60)

    # --- the fact --------------------------------------------------------------------------

    def _plant(self, base: Conversation, exchanges: list[tuple[Turn, ...]]) -> int | None:
        """Put the fact into one of the exchanges, where it is to be in one; returns which."""
        place = self._order.place
        if place in _RESULTS_OF_LATE:
            exchanges.append(self._with_result(self._long_result(_RESULTS_OF_LATE.index(place))))
            return len(exchanges) - 1
        if place not in (places.OLD_RESULT, places.OLD_TURN, places.RECENT_TURN):
            return None
        sure = self._sure(base, exchanges)
        late = place == places.RECENT_TURN and len(sure) > 0
        where = self._random.choice(sure if late else range(sure.start or len(exchanges)))
        if place == places.OLD_RESULT:
            result = self._prose(80) + self._fact + self._prose(80)
            exchanges[where] = self._with_result(result)
        else:
            exchanges[where] = self._with_fact(exchanges[where])
        return where

    def _with_result(self, result: str) -> tuple[Turn, ...]:
        asked = Turn("user", (Text(self._sentence()),))
        said = Turn("assistant", (Text(self._sentence()),))
        return asked, *self._called("call-fact", result), said

    def _with_fact(self, exchange: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """The fact said by either side."""
        n = self._random.choice((0, -1))
        turns = list(exchange)
        (part,) = turns[n].parts
        assert isinstance(part, Text)
        turns[n] = Turn(turns[n].role, (Text(part.text + self._fact),))
        return tuple(turns)

    def _sure(self, base: Conversation, exchanges: list[tuple[Turn, ...]]) -> range:
        """Those that lie, with all behind them, within the share of the budget in which the rule
        promises to keep turns; a fact is counted, whether it stands in them or not."""
        bare = Conversation(model="m")

        def tokens(*turns: Turn) -> int:
            settled_turns = tuple(map(settled, turns))
            whole = self._count(msgspec.structs.replace(bare, turns=settled_turns))
            return whole - self._count(bare)

        sure = sure_tokens(self._order.budget)
        sure -= tokens(*base.turns[_BEGUN:]) + tokens(Turn("user", (Text(self._fact),)))
        for first in reversed(range(len(exchanges))):
            sure -= tokens(*exchanges[first])
            if sure < 0:
                return range(first + 1, len(exchanges))
        return range(len(exchanges))

    # --- words -----------------------------------------------------------------------------

    def _wants(self, place: Place) -> bool:
        return self._order.place == place

    def _here(self, place: Place) -> str:
        return self._fact if self._wants(place) else ""

    def _sentence(self) -> str:
        words = " ".join(self._random.choices(_WORDS, k=self._random.randint(4, 10)))
        return f"{words.capitalize()}. "

    def _prose(self, chars: int) -> str:
        text = ""
        while len(text) < chars:
            text += self._sentence()
        return text


def _with(base: Conversation, exchanges: list[tuple[Turn, ...]]) -> Conversation:
    """The exchanges before the last words."""
    begun, end = base.turns[:_BEGUN], base.turns[_BEGUN:]
    turns = (*begun, *(turn for exchange in exchanges for turn in exchange), *end)
    return msgspec.structs.replace(base, turns=turns)
