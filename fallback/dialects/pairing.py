"""Tool calls and their results, paired as servers demand it.

A client's own cloud may have been lenient, or its protocol may write the pairs otherwise. What
goes to another server obeys the strictest of them (the Messages API, and Chat Completions):

- Each call has exactly one result, at once behind the assistant's turn, before anything else.
- A result has its call in the assistant's turn before it.
- The ids of calls are unique, and made of letters, digits, `_` and `-`, at most 40 of them.

Nothing is lost: a result that answers no call is told as text, a call without a result gets one
that says so.

Sources: https://docs.claude.com/en/docs/agents-and-tools/tool-use/implement-tool-use and
https://platform.openai.com/docs/api-reference/chat/create.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

import msgspec

from fallback.core.conversation import Part, Text, ToolCall, ToolResult, Turn

_VALID_ID = re.compile(r"[A-Za-z0-9_-]{1,40}")
_NO_RESULT = "(The tool gave no result.)"


def paired(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """The turns with their calls and results in pairs; those in order stay as they are."""
    found: list[Turn] = []
    taken: set[str] = set()
    open_calls: list[tuple[str, str]] = []
    for by_assistant, run in groupby(turns, key=lambda turn: turn.role == "assistant"):
        if by_assistant:
            open_calls = []
            found += [_with_ids(turn, taken, open_calls) for turn in run]
        else:
            found += _answering(run, open_calls)
            open_calls = []
    return (*found, *_answering((), open_calls))


def _with_ids(turn: Turn, taken: set[str], open_calls: list[tuple[str, str]]) -> Turn:
    """The assistant's turn with valid ids; `open_calls` gains (the client's id, ours)."""
    parts: list[Part] = []
    for part in turn.parts:
        if isinstance(part, ToolCall):
            id_ = _free_id(part.id, taken)
            taken.add(id_)
            open_calls.append((part.id, id_))
            part = msgspec.structs.replace(part, id=id_)  # noqa: PLW2901
        parts.append(part)
    return Turn(turn.role, tuple(parts))


def _free_id(wanted: str, taken: set[str]) -> str:
    if _VALID_ID.fullmatch(wanted) and wanted not in taken:
        return wanted
    number = len(taken)
    while f"call_{number}" in taken:
        number += 1
    return f"call_{number}"


def _answering(run: Iterable[Turn], open_calls: list[tuple[str, str]]) -> list[Turn]:
    """The turns between two of the assistant's, the results of its calls first."""
    waiting = list(open_calls)
    results: list[Part] = []
    others: list[Turn] = []
    for turn in run:
        parts: list[Part] = []
        for part in turn.parts:
            if not isinstance(part, ToolResult):
                parts.append(part)
            elif (pair := _pair_of(part, waiting)) is None:
                parts.append(Text(f"Result of the tool call {part.call_id}:\n{part.text}"))
            else:
                waiting.remove(pair)
                results.append(msgspec.structs.replace(part, call_id=pair[1]))
        if parts or not turn.parts:
            others.append(Turn(turn.role, tuple(parts)))
    results += [ToolResult(call_id=id_, text=_NO_RESULT, is_error=True) for _, id_ in waiting]
    return [Turn("user", tuple(results)), *others] if results else others


def _pair_of(result: ToolResult, waiting: list[tuple[str, str]]) -> tuple[str, str] | None:
    return next((pair for pair in waiting if pair[0] == result.call_id), None)
