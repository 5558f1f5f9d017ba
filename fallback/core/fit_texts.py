"""The steps of the fitting rule that shorten instructions and the last user turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from fallback.core.answer import CutKind
from fallback.core.conversation import Conversation, Text, Turn
from fallback.core.exchanges import instruction_turns, last_user_turn
from fallback.core.fit_steps import Result, Scale, Step, nothing, with_turns
from fallback.core.shorten import Instructions, shorten

INSTRUCTION_CHARS = 1024
# How finely texts are shortened: each halving costs one count of the whole conversation.
_INSTRUCTION_LEVELS = 32
_WORDS_LEVELS = 256

_Place = tuple[int, int]  # indexes of a turn and of a part in it
_SYSTEM: _Place = (-1, -1)  # the system prompt is in no turn


# --- instructions --------------------------------------------------------------------------


def instructions(conversation: Conversation, scale: Scale) -> Step:
    """Shorten instructions to their start and their rules, none below a readable length."""
    return _instructions(conversation, scale, INSTRUCTION_CHARS)


def all_instructions(conversation: Conversation, scale: Scale) -> Step:
    """Shorten instructions to nothing."""
    return _instructions(conversation, scale, 0)


def _instructions(conversation: Conversation, scale: Scale, least: int) -> Step:
    """Shorten the system prompt and the other instructions that hold now, each by the same
    share of what it has above the least length."""
    turns = conversation.turns
    holding = instruction_turns(turns, scale.leading)
    texts = {_SYSTEM: conversation.system, **_texts(turns, sorted(holding))}
    long = {place: Instructions(text) for place, text in texts.items() if len(text) > least}
    if not long:
        return nothing("system")

    def cut(level: int) -> Result:
        def shorter(text: Instructions) -> str:
            share = (len(text.text) - least) * level // _INSTRUCTION_LEVELS
            return text.shorten(len(text.text) - share)

        changed = {place: shorter(text) for place, text in long.items()}
        system = changed.pop(_SYSTEM, conversation.system)
        fitted = msgspec.structs.replace(conversation, system=system)
        return Result(with_turns(fitted, _with_texts(turns, changed)))

    return Step("system", _INSTRUCTION_LEVELS, cut)


# --- the last user turn --------------------------------------------------------------------


def user_context(conversation: Conversation, scale: Scale) -> Step:
    """Shorten what stands before the user's own words in the last user turn."""
    found = _texts(conversation.turns, [last_user_turn(conversation.turns)])
    return _shortening("last_turn", conversation, dict(list(found.items())[:-1]))


def user_words(conversation: Conversation, scale: Scale) -> Step:
    """Shorten the user's own words: the last text of the last user turn."""
    found = _texts(conversation.turns, [last_user_turn(conversation.turns)])
    return _shortening("last_turn", conversation, dict(list(found.items())[-1:]))


def _shortening(what: CutKind, conversation: Conversation, found: Mapping[_Place, str]) -> Step:
    """Shorten texts, each by the same share of its length, to nothing at the highest level."""
    levels = min(_WORDS_LEVELS, max(map(len, found.values()), default=0))

    def cut(level: int) -> Result:
        less = {
            place: shorten(text, len(text) - len(text) * level // levels)
            for place, text in found.items()
        }
        return Result(with_turns(conversation, _with_texts(conversation.turns, less)))

    return Step(what, levels, cut)


def _texts(turns: tuple[Turn, ...], places: Iterable[int]) -> dict[_Place, str]:
    return {
        (i, j): part.text
        for i in places
        if i >= 0
        for j, part in enumerate(turns[i].parts)
        if isinstance(part, Text) and part.text
    }


def _with_texts(turns: tuple[Turn, ...], texts: Mapping[_Place, str]) -> tuple[Turn, ...]:
    changed = list(turns)
    for (i, j), text in texts.items():
        parts = changed[i].parts
        changed[i] = Turn(changed[i].role, (*parts[:j], Text(text), *parts[j + 1 :]))
    return tuple(changed)
