"""The steps of the fitting rule: what each can cut from a conversation, level by level.

A step is made for the conversation that the steps before it left. Each is a pure function
with a name from the rule in `fit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from fallback.core.answer import CutKind
from fallback.core.conversation import Conversation, Part, Text, ToolCall, ToolResult, Turn
from fallback.core.tool_syntax import must_call_tools

MARK = "\n[... left out ...]\n"
SHORT_RESULT_CHARS = 200
# How finely texts are shortened: each halving costs one count of the whole conversation.
TEXT_LEVELS = 256


class Step(NamedTuple):
    """`cut(level)`, with 1 <= level <= `levels`, cuts more with each level; 0: nothing to cut."""

    what: CutKind
    levels: int
    cut: Callable[[int], Result]


class Result(NamedTuple):
    """The conversation after a cut, and how many things the cut took or shortened."""

    conversation: Conversation
    things: int


def shorten(text: str, kept: int) -> str:
    """The first two and the last one thirds of `kept` characters of `text`, a mark between."""
    if kept <= 0:
        return ""
    if kept + len(MARK) >= len(text):
        return text
    tail = kept // 3
    return text[: kept - tail] + MARK + text[len(text) - tail :]


# --- tools ---------------------------------------------------------------------------------


def tools(conversation: Conversation) -> Step:
    """Drop tools, those that nobody has used first, but for one that has to be called."""
    tools = conversation.tools
    used = {part.name for part in _parts(conversation.turns) if isinstance(part, ToolCall)}
    staying = _staying_tool(conversation)
    order = [i for i in reversed(range(len(tools))) if i != staying]
    order.sort(key=lambda i: tools[i].name in used)

    def cut(level: int) -> Result:
        gone = set(order[:level])
        kept = tuple(tool for i, tool in enumerate(tools) if i not in gone)
        return Result(msgspec.structs.replace(conversation, tools=kept), level)

    return Step("tools", len(order), cut)


def _staying_tool(conversation: Conversation) -> int | None:
    if not must_call_tools(conversation):
        return None
    names = [tool.name for tool in conversation.tools]
    wanted = conversation.tool_choice.name
    return names.index(wanted) if wanted in names else 0


def staying_tools(conversation: Conversation) -> Step:
    """Drop the tools that are left."""
    bare = msgspec.structs.replace(conversation, tools=())
    tools = len(conversation.tools)
    return Step("tools", min(1, tools), lambda _: Result(bare, tools))


# --- turns ---------------------------------------------------------------------------------


def old_turns(conversation: Conversation) -> Step:
    """Drop the turns before the last user turn, the oldest first."""
    turns = conversation.turns
    start, last = _leading(turns), _last_user_turn(turns)
    return _dropping(conversation, start, [i for i in _seams(turns) if start < i <= last])


def old_exchanges(conversation: Conversation) -> Step:
    """Drop tool exchanges that follow the last user turn, the oldest first, but for the last."""
    turns = conversation.turns
    start, seams = _last_user_turn(turns) + 1, _seams(turns)
    talk = [i for i in range(start, len(turns)) if turns[i].role != "system"]
    ends = [i for i in seams if talk[0] < i <= talk[-1]] if talk and start in seams else []
    return _dropping(conversation, start, ends)


def last_exchange(conversation: Conversation) -> Step:
    """Drop all that follows the last user turn: a tool exchange, the beginning of the answer."""
    turns = conversation.turns
    start, seams = _last_user_turn(turns) + 1, _seams(turns)
    follows = start in seams and any(turn.role != "system" for turn in turns[start:])
    return _dropping(conversation, start, [len(turns)] if follows else [])


def _dropping(conversation: Conversation, start: int, ends: Sequence[int]) -> Step:
    """Drop the turns from `start` to one of `ends`. Instructions among the tail's turns stay."""
    turns = conversation.turns
    tail = start > _last_user_turn(turns)

    def cut(level: int) -> Result:
        end = ends[level - 1]
        saved = tuple(turn for turn in turns[start:end] if tail and turn.role == "system")
        kept = turns[:start] + saved + turns[end:]
        return Result(msgspec.structs.replace(conversation, turns=kept), len(turns) - len(kept))

    return Step("turns", len(ends), cut)


def everything(conversation: Conversation) -> Step:
    """Drop what is left of turns and instructions."""
    turns = len(conversation.turns)
    empty = msgspec.structs.replace(conversation, system="", turns=())
    return Step("turns", min(1, turns), lambda _: Result(empty, turns))


def _seams(turns: Sequence[Turn]) -> list[int]:
    """The indexes before which the turns can be parted without parting a call from its result."""
    called: dict[str, int] = {}
    crossing = [0] * (len(turns) + 1)
    for i, turn in enumerate(turns):
        for part in turn.parts:
            if isinstance(part, ToolCall):
                called.setdefault(part.id, i)
            elif isinstance(part, ToolResult) and part.call_id in called:
                crossing[called[part.call_id] + 1] += 1
                crossing[i + 1] -= 1
    return [i for i, open_calls in enumerate(accumulate(crossing)) if not open_calls]


def _leading(turns: Sequence[Turn]) -> int:
    """How many turns of instructions come before the first other turn."""
    return next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))


def _last_user_turn(turns: Sequence[Turn]) -> int:
    """Its index; without one, that of the last turn of any kind; -1 where there is none."""
    users = [i for i, turn in enumerate(turns) if turn.role == "user"]
    speaking = [i for i in users if _speaks(turns[i])]
    return (speaking or users or [len(turns) - 1])[-1]


def _speaks(turn: Turn) -> bool:
    kinds = {type(part) for part in turn.parts}
    return Text in kinds and ToolResult not in kinds


def _parts(turns: Sequence[Turn]) -> Iterator[Part]:
    return (part for turn in turns for part in turn.parts)


# --- texts ---------------------------------------------------------------------------------

_Place = tuple[int, int]  # indexes of a turn and of a part in it


def tool_results(conversation: Conversation) -> Step:
    """Shorten the longest results and call arguments first, none below a readable length."""
    texts = [_tool_text(part) for part in _parts(conversation.turns)]
    longest = max(map(len, texts), default=0)
    span = max(0, longest - SHORT_RESULT_CHARS - len(MARK))
    levels = min(TEXT_LEVELS, span)

    def cut(level: int) -> Result:
        kept = longest - len(MARK) - span * level // levels
        things = sum(shorten(text, kept) != text for text in texts)
        turns = _map_parts(conversation.turns, lambda _, part: _shorten_tool_text(part, kept))
        return Result(msgspec.structs.replace(conversation, turns=turns), things)

    return Step("tool_results", levels, cut)


def _tool_text(part: Part) -> str:
    if isinstance(part, ToolResult):
        return part.text
    return part.arguments if isinstance(part, ToolCall) else ""


def _shorten_tool_text(part: Part, kept: int) -> Part:
    if isinstance(part, ToolResult):
        return msgspec.structs.replace(part, text=shorten(part.text, kept))
    if isinstance(part, ToolCall):
        return msgspec.structs.replace(part, arguments=shorten(part.arguments, kept))
    return part


def instructions(conversation: Conversation) -> Step:
    """Shorten the system prompt and the instructions at the head and the tail of the turns."""
    turns = conversation.turns
    places = [*range(_leading(turns)), *range(_last_user_turn(turns) + 1, len(turns))]
    found = _texts(turns, [i for i in places if turns[i].role == "system"])
    return _shortening("system", conversation, found, system=conversation.system)


def user_context(conversation: Conversation) -> Step:
    """Shorten what stands before the user's own words in the last user turn."""
    found = _texts(conversation.turns, [_last_user_turn(conversation.turns)])
    return _shortening("last_turn", conversation, dict(list(found.items())[:-1]))


def user_words(conversation: Conversation) -> Step:
    """Shorten the user's own words: the last text of the last user turn."""
    found = _texts(conversation.turns, [_last_user_turn(conversation.turns)])
    return _shortening("last_turn", conversation, dict(list(found.items())[-1:]))


def _texts(turns: Sequence[Turn], places: Iterable[int]) -> dict[_Place, str]:
    return {
        (i, j): part.text
        for i in places
        if i >= 0
        for j, part in enumerate(turns[i].parts)
        if isinstance(part, Text) and part.text
    }


def _shortening(
    what: CutKind, conversation: Conversation, found: dict[_Place, str], *, system: str = ""
) -> Step:
    """Shorten texts, each by the same share of its length, to nothing at the highest level."""
    texts = [text for text in (system, *found.values()) if text]
    levels = min(TEXT_LEVELS, max(map(len, texts), default=0))

    def cut(level: int) -> Result:
        def less(text: str) -> str:
            return shorten(text, len(text) - len(text) * level // levels)

        def less_part(place: _Place, part: Part) -> Part:
            return Text(less(found[place])) if place in found else part

        turns = _map_parts(conversation.turns, less_part)
        fitted = msgspec.structs.replace(
            conversation, turns=turns, system=less(system) if system else conversation.system
        )
        return Result(fitted, sum(less(text) != text for text in texts))

    return Step(what, levels, cut)


def _map_parts(turns: Sequence[Turn], change: Callable[[_Place, Part], Part]) -> tuple[Turn, ...]:
    return tuple(
        Turn(turn.role, tuple(change((i, j), part) for j, part in enumerate(turn.parts)))
        for i, turn in enumerate(turns)
    )
