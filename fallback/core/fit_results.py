"""The steps of the fitting rule that shorten tool results and the arguments of calls.

Each is shortened for itself to one of a few sizes, so that it stays the same from turn to turn.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fallback.core.conversation import Conversation, Part, ToolCall, ToolResult, Turn
from fallback.core.exchanges import start_of_last_exchange
from fallback.core.fit_steps import Result, Scale, Step, with_turns
from fallback.core.shorten import shorten
from fallback.core.sizes import sizes_between

# Of this size a result still tells what it was about.
RESULT_CHARS = 1024
SHORT_RESULT_CHARS = 256


def old_results(conversation: Conversation, scale: Scale) -> Step:
    """Shorten results and arguments in the middle, but for those of the last exchange."""
    return _shortening(conversation, RESULT_CHARS, of_last=False)


def results(conversation: Conversation, scale: Scale) -> Step:
    """Shorten all of them so."""
    return _shortening(conversation, RESULT_CHARS, of_last=True)


def short_results(conversation: Conversation, scale: Scale) -> Step:
    """Shorten all further."""
    return _shortening(conversation, SHORT_RESULT_CHARS, of_last=True)


def settled(turn: Turn) -> Turn:
    """The turn with its results and arguments as they will be once it is old."""
    return _shorter(turn, RESULT_CHARS)


def _shortening(conversation: Conversation, least: int, *, of_last: bool) -> Step:
    turns = conversation.turns
    end = len(turns) if of_last else max(0, start_of_last_exchange(turns))
    limits = sizes_between(least, max(map(_longest, turns[:end]), default=0))

    def cut(level: int) -> Result:
        shorter = (_shorter(turn, limits[level - 1]) for turn in turns[:end])
        return Result(with_turns(conversation, (*shorter, *turns[end:])))

    return Step("tool_results", len(limits), cut)


def _shorter(turn: Turn, limit: int) -> Turn:
    if _longest(turn) <= limit:
        return turn
    return Turn(turn.role, tuple(_shorter_part(part, limit) for part in turn.parts))


def _longest(turn: Turn) -> int:
    return max(map(_chars, turn.parts), default=0)


def _chars(part: Part) -> int:
    if isinstance(part, ToolResult):
        return len(part.text)
    return len(part.arguments) if isinstance(part, ToolCall) else 0


def _shorter_part(part: Part, limit: int) -> Part:
    if isinstance(part, ToolResult):
        return msgspec.structs.replace(part, text=shorten(part.text, limit))
    if isinstance(part, ToolCall):
        return msgspec.structs.replace(part, arguments=_arguments(part.arguments, limit))
    return part


def _arguments(text: str, limit: int) -> str:
    """JSON stays JSON: only the texts in it are shortened."""
    if len(text) <= limit:
        return text
    try:
        value = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return shorten(text, limit)
    shorter = msgspec.json.encode(_shorter_value(value, limit)).decode()
    return shorter if len(shorter) < len(text) else text


def _shorter_value(value: Any, limit: int) -> Any:
    if isinstance(value, str):
        return shorten(value, limit)
    if isinstance(value, list):
        return [_shorter_value(item, limit) for item in value]
    if isinstance(value, dict):
        return {key: _shorter_value(item, limit) for key, item in value.items()}
    return value
