"""A conversation as the messages of a template that shows tools, calls and results itself.

Rules of this file:
- Messages have the form of Chat Completions: `tool_calls` in the assistant's, results in messages
  of the role `tool`, arguments as objects, tools in a list of their own.
- What a template cannot take, and would lose or refuse, its `Shape` says; the rest stays as the
  client sent it.
- A result whose call is nowhere, and what else has no place in that form, is text of the user's.
- Ids are nine letters and digits, which Mistral's templates insist on, and stay the same from turn
  to turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from fallback.core.conversation import Conversation, Part, Tool, ToolCall, ToolResult, Turn
from fallback.core.tool_formats import ToolFormat
from fallback.core.tool_formats.telling import demand, noted
from fallback.core.tool_syntax import callable_tools, must_call_tools
from fallback.dialects.custom_tools import as_function, custom_names, json_arguments
from fallback.local.worker.messages import (
    GO_ON,
    Writer,
    in_three,
    joined,
    prefill_text,
    runs,
    system_text,
)

Message = dict[str, Any]

_ACKNOWLEDGED = "I have the result."


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """What a template wants of the messages. `single`: a call in a message, each followed by its
    result. `apart`: no text beside calls, but in a message before them. `strict`: user and
    assistant in turns, calls and results not counted."""

    single: bool = False
    apart: bool = False
    strict: bool = False


class NativeMessages(msgspec.Struct, frozen=True, kw_only=True):
    """What a template renders, and `prefill`: the beginning of the answer, already written."""

    system: str
    messages: tuple[Message, ...]
    tools: tuple[Message, ...]
    prefill: str = ""


def to_native(conversation: Conversation, form: ToolFormat, shape: Shape) -> NativeMessages:
    """The conversation in this shape. The last message is the user's or a result."""
    writer = Writer(conversation, form)
    leading, rest, begun = in_three(conversation.turns)
    messages = _Builder(conversation, writer, shape).build(rest)
    tools = callable_tools(conversation)
    is_demanded = must_call_tools(conversation)
    demanded = demand(conversation.tool_choice) if is_demanded else ""
    return NativeMessages(
        system=system_text(conversation, [*map(writer.text, leading), demanded]),
        messages=tuple(_in_strict_turns(messages) if shape.strict else messages),
        tools=tuple(map(_tool, tools)),
        prefill=prefill_text(writer, form, begun),
    )


class _Builder:
    """Makes one list of messages. Calls wait for the results that the next turn brings."""

    def __init__(self, conversation: Conversation, writer: Writer, shape: Shape) -> None:
        self._custom = custom_names(conversation.tools)
        self._writer = writer
        self._shape = shape
        self._messages: list[Message] = []
        self._calls: list[ToolCall] = []
        self._beside = ""

    def build(self, turns: tuple[Turn, ...]) -> list[Message]:
        """The messages of these turns, the user's first."""
        for role, group in runs(turns):
            if role == "assistant":
                self._add_assistant(group)
            else:
                self._add_user(group)
        self._add_exchange({})
        if not self._messages or self._messages[0]["role"] != "user":
            self._messages.insert(0, _said("user", ""))
        if self._messages[-1]["role"] == "assistant":
            self._messages.append(_said("user", GO_ON))
        return self._messages

    def _add_assistant(self, turns: list[Turn]) -> None:
        self._calls = [p for turn in turns for p in turn.parts if isinstance(p, ToolCall)]
        text = joined(self._writer.text(_only(turn, _is_no_call)) for turn in turns)
        if not self._calls or (self._shape.apart and text):
            self._messages.append(_said("assistant", text))
            text = ""
        self._beside = text

    def _add_user(self, turns: list[Turn]) -> None:
        ids = {call.id for call in self._calls}
        results: dict[str, ToolResult] = {}
        for turn in turns:
            found = (p for p in turn.parts if isinstance(p, ToolResult) and p.call_id in ids)
            results.update((result.call_id, result) for result in found)
        told = set(map(id, results.values()))
        self._add_exchange(dict(results))
        rest = [_only(turn, lambda part: id(part) not in told) for turn in turns]
        text = joined(map(self._writer.marked_text, rest))
        if text or not results:
            self._messages.append(_said("user", text))

    def _add_exchange(self, results: dict[str, ToolResult]) -> None:
        """The calls that wait, and what came of them."""
        groups = [[call] for call in self._calls] if self._shape.single else [self._calls]
        for calls in filter(None, groups):
            self._messages.append(self._calling(calls, self._beside))
            self._beside = ""
            found = ((call, results.pop(call.id, None)) for call in calls)
            self._messages.extend(_result(call, result) for call, result in found if result)
        self._calls = []

    def _calling(self, calls: Iterable[ToolCall], text: str) -> Message:
        return {**_said("assistant", text), "tool_calls": [self._call(call) for call in calls]}

    def _call(self, call: ToolCall) -> Message:
        arguments = msgspec.json.decode(json_arguments(call, self._custom))
        function = {"name": call.name, "arguments": arguments}
        return {"id": _id(call.id), "type": "function", "function": function}


def _only(turn: Turn, wanted: Callable[[Part], bool]) -> Turn:
    return Turn(turn.role, tuple(part for part in turn.parts if wanted(part)))


def _is_no_call(part: Part) -> bool:
    return not isinstance(part, ToolCall)


def _in_strict_turns(messages: Iterable[Message]) -> Iterator[Message]:
    """With something said for whoever would be passed over."""
    expected = "user"
    for message in messages:
        if message["role"] == "tool" or "tool_calls" in message:
            yield message
            continue
        if message["role"] != expected:
            yield _said(expected, GO_ON if expected == "user" else _ACKNOWLEDGED)
            expected = message["role"]
        yield message
        expected = "assistant" if expected == "user" else "user"


def _said(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _result(call: ToolCall, result: ToolResult) -> Message:
    told = {"tool_call_id": _id(call.id), "name": call.name, "content": noted(result)}
    return {"role": "tool", **told}


def _tool(tool: Tool) -> Message:
    told = as_function(tool)
    # Templates go over the properties without asking whether there are any.
    parameters = {"type": "object", "properties": {}, **told.parameters}
    function = {"name": told.name, "description": told.description, "parameters": parameters}
    return {"type": "function", "function": function}


def _id(client_id: str) -> str:
    return hashlib.sha256(client_id.encode(errors="replace")).hexdigest()[:9]
