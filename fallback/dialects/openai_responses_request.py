"""OpenAI Responses: a conversation -> a request's body.

What this protocol has no word for: reasoning that another model wrote, stop sequences, `top_k`,
penalties, a seed, whether a tool failed (told in its text), and where a turn of several items
ends. Nothing is stored at the server.

Source: https://platform.openai.com/docs/api-reference/responses/create and the request types of
the `openai` package.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Any

from fallback.core.conversation import (
    Conversation,
    OutputFormat,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.dialects.asking import is_strict, result_text, sayable
from fallback.dialects.custom_tools import custom_names
from fallback.dialects.jsonvalues import is_object
from fallback.dialects.pairing import paired


def request(conversation: Conversation) -> dict[str, Any]:
    """The body as plain data."""
    body: dict[str, Any] = {
        "model": conversation.model,
        "input": list(_items(conversation)),
        "store": False,
        **_sampling(conversation.sampling),
    }
    if conversation.system:
        body["instructions"] = conversation.system
    if conversation.tools:
        body["tools"] = list(map(_tool, conversation.tools))
        body |= _tool_choice(conversation.tool_choice, custom_names(conversation.tools))
    if conversation.output_format is not None:
        body["text"] = {"format": _format(conversation.output_format)}
    if conversation.stream:
        body["stream"] = True
    return body


def _items(conversation: Conversation) -> Iterator[dict[str, Any]]:
    turns = paired(conversation.turns)
    custom = _custom_ids(turns, custom_names(conversation.tools))
    for turn in turns:
        yield from (_assistant if turn.role == "assistant" else _user)(turn, custom)


def _custom_ids(turns: tuple[Turn, ...], names: Container[str]) -> set[str]:
    """The calls of custom tools; what is no JSON object was free text."""
    calls = (part for turn in turns for part in turn.parts if isinstance(part, ToolCall))
    return {
        call.id for call in calls if call.name in names or not is_object(call.arguments or "{}")
    }


def _assistant(turn: Turn, custom: Container[str]) -> Iterator[dict[str, Any]]:
    for part in turn.parts:
        if isinstance(part, ToolCall):
            yield _call(part, is_custom=part.id in custom)
        else:
            yield from ({"role": "assistant", "content": text} for text in sayable([part]))


def _call(call: ToolCall, *, is_custom: bool) -> dict[str, Any]:
    named = {"call_id": call.id, "name": call.name}
    if is_custom:
        return {"type": "custom_tool_call", **named, "input": call.arguments}
    return {"type": "function_call", **named, "arguments": call.arguments or "{}"}


def _user(turn: Turn, custom: Container[str]) -> Iterator[dict[str, Any]]:
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    for result in results:
        kind = "custom_tool_call_output" if result.call_id in custom else "function_call_output"
        yield {"type": kind, "call_id": result.call_id, "output": result_text(result)}
    texts = [{"type": "input_text", "text": text} for text in sayable(turn.parts)]
    if texts or not results:
        yield {"role": turn.role, "content": texts}


def _tool(tool: Tool) -> dict[str, Any]:
    named = {"name": tool.name, **({"description": tool.description} if tool.description else {})}
    if tool.kind == "function":
        strict = is_strict(tool.parameters)
        return {"type": "function", **named, "parameters": tool.parameters, "strict": strict}
    if tool.grammar is None:
        return {"type": "custom", **named}
    grammar = {"type": "grammar", "syntax": tool.grammar_syntax, "definition": tool.grammar}
    return {"type": "custom", **named, "format": grammar}


def _tool_choice(choice: ToolChoice, custom: Container[str]) -> dict[str, Any]:
    fields: dict[str, Any] = {} if choice.parallel else {"parallel_tool_calls": False}
    if choice.mode == "named":
        kind = "custom" if choice.name in custom else "function"
        fields["tool_choice"] = {"type": kind, "name": choice.name}
    elif choice.mode != "auto":
        fields["tool_choice"] = choice.mode
    return fields


def _format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.kind == "json_object" or not wanted.schema:
        return {"type": "json_object"}
    strict = is_strict(wanted.schema)
    return {"type": "json_schema", "name": "answer", "schema": wanted.schema, "strict": strict}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "max_output_tokens": sampling.max_tokens,
    }
    return {key: value for key, value in fields.items() if value is not None}
