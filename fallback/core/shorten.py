"""Shortening one text. The less is kept of it, the less of every part of it is."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence

MARK = "\n[... left out ...]\n"

_UNIT_CHARS = 400
_UNIT = re.compile(rf"(?s).{{1,{_UNIT_CHARS}}}?(?:(?<=[.!?])\s+|\n+|\Z)|.{{1,{_UNIT_CHARS}}}")
# English, as most instructions to models are.
_RULE = re.compile(
    r"\b(?:must|never|always|do not|don't|only|should|shall|cannot|can't|may not|required|"
    r"important|avoid|ensure|make sure|forbidden|not allowed)\b",
    re.IGNORECASE,
)


def shorten(text: str, kept: int) -> str:
    """The first two and the last one thirds of `kept` characters of `text`, a mark between."""
    if kept <= 0:
        return ""
    if kept + len(MARK) >= len(text):
        return text
    tail = kept // 3
    return text[: kept - tail] + MARK + text[len(text) - tail :]


class Instructions:
    """A text of instructions, of which the start and the rules are worth most.

    A rule is a sentence or line that says what must, should or may not be. What is kept is one
    half of it from the start and one half rules of the rest, as long as there are any.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._units = _UNIT.findall(text)
        self._by_worth = _by_worth(self._units)

    def __repr__(self) -> str:
        return f"<Instructions {len(self.text)} characters, {len(self._units)} units>"

    def shorten(self, kept: int) -> str:
        """At most `kept` characters, whole sentences where they are not very long, in their
        order, with a mark where the first is missing."""
        if kept <= 0:
            return ""
        if kept + len(MARK) >= len(self.text):
            return self.text
        chosen = sorted(self._best(kept))
        if not chosen:
            return ""
        gap = next((n for n, i in enumerate(chosen) if n != i), len(chosen))
        units = [self._units[i] for i in chosen]
        return "".join([*units[:gap], MARK, *units[gap:]])

    def _best(self, kept: int) -> list[int]:
        best = []
        for index in self._by_worth:
            kept -= len(self._units[index])
            if kept < 0:
                break
            best.append(index)
        return best


def _by_worth(units: Sequence[str]) -> list[int]:
    """The indexes of the units: from the start and from the rules in turn, in equal parts."""
    start = deque(range(len(units)))
    rules = deque(i for i in start if _RULE.search(units[i]))
    order: dict[int, None] = {}
    taken = [0, 0]
    while start:
        which = int(bool(rules) and taken[1] < taken[0])
        index = (start, rules)[which].popleft()
        if index not in order:
            order[index] = None
            taken[which] += len(units[index])
    return list(order)
