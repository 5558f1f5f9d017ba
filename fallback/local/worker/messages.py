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
from typing import TypeAlias

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
from fallback.core.tool_formats import GENERAL, ToolFormat
from fallback.core.tool_formats.inputs import past_form
from fallback.core.tool_syntax import callable_tools, must_call_tools

# A longer schema would crowd out the conversation; the grammar enforces it in any case.
MAX_SCHEMA_CHARS = 2000
# What the user says where somebody has to speak.
GO_ON = "Go on."


Turns: TypeAlias = tuple[Turn, ...]


class Messages(msgspec.Struct, frozen=True):
    """What a template renders, and `prefill`: the beginning of the answer, already written."""

    system: str
    turns: tuple[tuple[str, str], ...]
    prefill: str = ""


def to_messages(conversation: Conversation, form: ToolFormat = GENERAL) -> Messages:
    """The conversation with roles in strict turns; the last message is always the user's. Tools,
    calls and results are text in it, calls as `form` writes them."""
    writer = Writer(conversation, form)
    leading, rest, begun = in_three(conversation.turns)
    described = form.describe(callable_tools(conversation), conversation.tool_choice)
    system = system_text(conversation, [*map(writer.text, leading), described])
    return Messages(system, _in_strict_turns(writer, rest), prefill_text(writer, form, begun))


def in_three(turns: Turns) -> tuple[Turns, Turns, Turns]:
    """The instructions that lead the conversation, its turns, the beginning of the answer."""
    start = next((i for i, turn in enumerate(turns) if turn.role != "system"), len(turns))
    end = len(turns)
    while end > start and turns[end - 1].role == "assistant" and not _has_call(turns[end - 1]):
        end -= 1
    return turns[:start], turns[start:end], turns[end:]


def system_text(conversation: Conversation, told: Iterable[str]) -> str:
    """All that the model is told beforehand."""
    blocks = [conversation.system.strip(), *told]
    if conversation.output_format is not None and not must_call_tools(conversation):
        blocks.append(_format_text(conversation.output_format))
    return joined(blocks)


def prefill_text(writer: Writer, form: ToolFormat, begun: Turns) -> str:
    """The beginning of the answer, as the model would have written it."""
    return form.prefill_text(joined(map(writer.text, begun)))


def runs(turns: Iterable[Turn]) -> list[tuple[str, list[Turn]]]:
    """Turns of one side in a row; in the user's, instructions come first."""
    found: list[tuple[str, list[Turn]]] = []
    for turn in turns:
        role = "assistant" if turn.role == "assistant" else "user"
        if not found or found[-1][0] != role:
            found.append((role, []))
        found[-1][1].append(turn)
    return [(role, sorted(group, key=lambda turn: turn.role != "system")) for role, group in found]


def joined(texts: Iterable[str]) -> str:
    """The texts as paragraphs."""
    return "\n\n".join(filter(None, texts))


class Writer:
    """Writes turns as text, calls and results too, in one format."""

    def __init__(self, conversation: Conversation, form: ToolFormat) -> None:
        self._tools = conversation.tools
        self._form = form

    def text(self, turn: Turn) -> str:
        """All that a turn says."""
        return joined(map(self._part, turn.parts))

    def marked_text(self, turn: Turn) -> str:
        """The same among the user's, where instructions are told as such."""
        text = self.text(turn)
        mark = "[instructions from the application]\n" if turn.role == "system" and text else ""
        return mark + text

    def _part(self, part: Part) -> str:
        match part:
            case Text():
                return part.text
            case ToolCall():
                return self._form.call_text(part, past_form(part, self._tools))
            case ToolResult():
                return self._form.result_text(part)
            case Attachment():
                return part.note()
            case Thinking():
                return ""


def _in_strict_turns(writer: Writer, turns: Turns) -> tuple[tuple[str, str], ...]:
    """Texts of the turns, those of one role in a row as one, the user's first and last."""
    blocks = [(role, joined(map(writer.marked_text, group))) for role, group in runs(turns)]
    if not blocks or blocks[0][0] == "assistant":
        blocks.insert(0, ("user", ""))
    if blocks[-1][0] == "assistant":
        blocks.append(("user", GO_ON))
    return tuple(blocks)


def _has_call(turn: Turn) -> bool:
    return any(isinstance(part, ToolCall) for part in turn.parts)


def _format_text(output: OutputFormat) -> str:
    schema = msgspec.json.encode(output.schema).decode()
    if output.kind == "json_object" or len(schema) > MAX_SCHEMA_CHARS:
        return "Answer with one JSON object and nothing else."
    return f"Answer with JSON that fits this schema, and nothing else:\n{schema}"
