"""What fitting took away, told by comparing what went in with what came out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping

import msgspec

from fallback.core.answer import Cut, CutKind
from fallback.core.conversation import Conversation, Part, Text, ToolCall, ToolResult
from fallback.core.exchanges import last_user_turn, parts_of

# Where a thing is counted that was first shortened and then went.
_GONE_AS: Mapping[CutKind, CutKind] = {
    "tool_descriptions": "tools",
    "tool_results": "turns",
    "system": "turns",
    "last_turn": "turns",
}


def report(
    before: Conversation, after: Conversation, tokens: Mapping[CutKind, int]
) -> tuple[Cut, ...]:
    """One cut for each kind that `tokens` has, in that order; what each saved is in `tokens`."""
    things = _things(before, after)
    saved: dict[CutKind, int] = {}
    for kind, amount in tokens.items():
        told = kind if things[kind] else _GONE_AS.get(kind, kind)
        saved[told] = saved.get(told, 0) + amount
    return tuple(
        Cut(what=kind, count=things[kind], tokens=amount)
        for kind, amount in saved.items()
        if things[kind]
    )


def _things(before: Conversation, after: Conversation) -> Mapping[CutKind, int]:
    return {
        "tools": len(before.tools) - len(after.tools),
        "tool_descriptions": _new(_tools(before), _tools(after)),
        "turns": len(before.turns) - len(after.turns),
        "system": _new(_instructions(before), _instructions(after)),
        "tool_results": _new(_tool_parts(before), _tool_parts(after)),
        "last_turn": _new(_said(before), _said(after)),
    }


def _new(before: Iterable[Hashable], after: Iterable[Hashable]) -> int:
    """How many of those after were not there before."""
    return (Counter(after) - Counter(before)).total()


def _tools(conversation: Conversation) -> list[bytes]:
    return [msgspec.json.encode(tool) for tool in conversation.tools]


def _instructions(conversation: Conversation) -> list[str]:
    turns = [turn for turn in conversation.turns if turn.role == "system"]
    parts = [part for turn in turns for part in turn.parts]
    return [conversation.system, *(part.text for part in parts if isinstance(part, Text))]


def _tool_parts(conversation: Conversation) -> list[Part]:
    parts = parts_of(conversation.turns)
    return [part for part in parts if isinstance(part, ToolCall | ToolResult)]


def _said(conversation: Conversation) -> list[Part]:
    last = last_user_turn(conversation.turns)
    return [] if last < 0 else list(conversation.turns[last].parts)
