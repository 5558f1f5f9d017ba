"""A conversation as the plain messages that every chat template knows.

Rules of this file:
- Roles are `system` (at most one, first), `user` and `assistant`, in strict turns, beginning
  with the user: Llama, Mistral and Gemma templates raise on anything else.
- Nothing the client sent is lost without a word: what a text model cannot see is named.
- Reasoning of other models is left out; it was never meant to be read again.
- Instructions in mid-conversation become part of the next user message, before the user's own
  words, so that these are the last thing the model reads.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from fallback.core.conversation import (
    Attachment,
    Conversation,
    OutputFormat,
    Part,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Turn,
)
from fallback.core.tool_syntax import (
    callable_tools,
    describe_tools,
    must_call_tools,
    past_call_text,
    result_text,
)

# A longer schema would crowd out the conversation; the grammar enforces it in any case.
MAX_SCHEMA_CHARS = 2000


class Messages(msgspec.Struct, frozen=True):
    """What a template renders, and `prefill`: the beginning of the answer, already written."""

    system: str
    turns: tuple[tuple[str, str], ...]
    prefill: str = ""


def to_messages(conversation: Conversation) -> Messages:
    """The conversation with roles in strict turns; the last message is always the user's."""
    leading, rest = _split_leading_instructions(conversation.turns)
    rest, prefill = _split_prefill(rest)
    return Messages(_system_text(conversation, leading), _in_turns(rest), prefill)


def _split_leading_instructions(turns: tuple[Turn, ...]) -> tuple[list[str], tuple[Turn, ...]]:
    count = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    return [_turn_text(turn) for turn in turns[:count]], turns[count:]


def _split_prefill(turns: tuple[Turn, ...]) -> tuple[tuple[Turn, ...], str]:
    end = len(turns)
    while end and turns[end - 1].role == "assistant" and not _has_call(turns[end - 1]):
        end -= 1
    return turns[:end], "\n\n".join(filter(None, map(_turn_text, turns[end:])))


def _has_call(turn: Turn) -> bool:
    return any(isinstance(part, ToolCall) for part in turn.parts)


def _system_text(conversation: Conversation, leading: list[str]) -> str:
    tools = callable_tools(conversation)
    blocks = [conversation.system.strip(), *leading]
    blocks.append(describe_tools(tools, conversation.tool_choice))
    if conversation.output_format is not None and not must_call_tools(conversation):
        blocks.append(_format_text(conversation.output_format))
    return "\n\n".join(filter(None, blocks))


def _format_text(output: OutputFormat) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    if output.kind == "json_object" or len(schema) > MAX_SCHEMA_CHARS:
        return "Answer with one JSON object and nothing else."
    return f"Answer with JSON that fits this schema, and nothing else:\n{schema}"


def _in_turns(turns: tuple[Turn, ...]) -> tuple[tuple[str, str], ...]:
    """Texts of the turns, those of one role in a row as one, the user's first and last."""
    blocks: list[tuple[str, list[str]]] = []
    for role, group in _runs(turns):
        blocks.append((role, [text for turn in group if (text := _marked_text(turn))]))
    if not blocks or blocks[0][0] == "assistant":
        blocks.insert(0, ("user", []))
    if blocks[-1][0] == "assistant":
        blocks.append(("user", ["Go on."]))
    return tuple((role, "\n\n".join(texts)) for role, texts in blocks)


def _runs(turns: Iterable[Turn]) -> list[tuple[str, list[Turn]]]:
    """Turns of one side in a row; in the user's, instructions come first."""
    runs: list[tuple[str, list[Turn]]] = []
    for turn in turns:
        role = "assistant" if turn.role == "assistant" else "user"
        if not runs or runs[-1][0] != role:
            runs.append((role, []))
        runs[-1][1].append(turn)
    return [(role, sorted(group, key=lambda turn: turn.role != "system")) for role, group in runs]


def _turn_text(turn: Turn) -> str:
    return "\n\n".join(filter(None, map(_part_text, turn.parts)))


def _marked_text(turn: Turn) -> str:
    text = _turn_text(turn)
    mark = "[instructions from the application]\n" if turn.role == "system" and text else ""
    return mark + text


def _part_text(part: Part) -> str:
    match part:
        case Text():
            return part.text
        case ToolCall():
            return past_call_text(part)
        case ToolResult():
            return result_text(part)
        case Attachment():
            return part.note()
        case Thinking():
            return ""
