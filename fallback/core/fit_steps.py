"""What a step of the fitting rule is, and what steps know of the conversation's size."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import msgspec

from fallback.core.answer import CutKind
from fallback.core.conversation import Conversation, Turn


class Result(NamedTuple):
    """The conversation after a cut.

    A cut of turns says how many tokens it dropped, and the `room` it leaves the others: they
    may grow by new turns to so many tokens before it would drop more.
    """

    conversation: Conversation
    dropped_tokens: int = 0
    room_tokens: int | None = None


class Step(NamedTuple):
    """`cut(level)`, with 1 <= level <= `levels`, cuts more with each level; 0: nothing to cut."""

    what: CutKind
    levels: int
    cut: Callable[[int], Result]


class Scale(NamedTuple):
    """What steps know of the whole. `weigh` gives the tokens of one turn, with its tool results
    as they will be once it is old. `dropped_tokens` are those of the turns that are gone already,
    so that positions in a conversation stay the same when its beginning goes. The first
    `leading` turns of instructions belong to the set-up."""

    weigh: Callable[[Turn], int]
    dropped_tokens: int
    leading: int


def nothing(what: CutKind) -> Step:
    """A step that finds nothing to cut."""
    return Step(what, 0, _no_level)


def _no_level(level: int) -> Result:
    raise ValueError(f"this step has no level {level}")


def with_turns(conversation: Conversation, turns: tuple[Turn, ...]) -> Conversation:
    """The conversation with other turns."""
    return msgspec.structs.replace(conversation, turns=turns)
