"""OpenAI Chat Completions: a conversation -> a request's body.

What this protocol has no word for: reasoning that another model wrote, `top_k`, whether a tool
failed (told in its text), and calls before text in one turn (the text comes first). Custom
tools are functions here, since few servers of this protocol know them otherwise.

Source: https://platform.openai.com/docs/api-reference/chat/create and the request types of the
`openai` package.
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
from fallback.dialects.custom_tools import as_function, custom_names, json_arguments
from fallback.dialects.pairing import paired


def request(conversation: Conversation) -> dict[str, Any]:
    """The body as plain data."""
    body: dict[str, Any] = {
        "model": conversation.model,
        "messages": list(_messages(conversation)),
        **_sampling(conversation.sampling),
    }
    if conversation.tools:
        body["tools"] = [_tool(as_function(tool)) for tool in conversation.tools]
        body |= _tool_choice(conversation.tool_choice)
    if conversation.output_format is not None:
        body["response_format"] = _response_format(conversation.output_format)
    if conversation.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    if conversation.system:
        yield {"role": "system", "content": conversation.system}
    custom = custom_names(conversation.tools)
    for turn in paired(conversation.turns):
        if turn.role == "assistant":
            yield from _assistant(turn, custom)
        else:
            yield from _user(turn)


def _assistant(turn: Turn, custom: Container[str]) -> Iterator[dict[str, Any]]:
    texts = sayable(turn.parts)
    calls = [_call(part, custom) for part in turn.parts if isinstance(part, ToolCall)]
    if calls:
        yield {"role": "assistant", "content": _content(texts) or None, "tool_calls": calls}
    elif texts:
        yield {"role": "assistant", "content": _content(texts)}


def _user(turn: Turn) -> Iterator[dict[str, Any]]:
    results = [part for part in turn.parts if isinstance(part, ToolResult)]
    for result in results:
        content = result_text(result)
        yield {"role": "tool", "tool_call_id": result.call_id, "content": content}
    texts = sayable(turn.parts)
    if texts or not results:
        yield {"role": turn.role, "content": _content(texts)}


def _content(texts: list[str]) -> str | list[dict[str, str]]:
    if len(texts) < 2:
        return "".join(texts)
    return [{"type": "text", "text": text} for text in texts]


def _call(call: ToolCall, custom: Container[str]) -> dict[str, Any]:
    function = {"name": call.name, "arguments": json_arguments(call, custom)}
    return {"id": call.id, "type": "function", "function": function}


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description:
        function["description"] = tool.description
    if is_strict(tool.parameters):
        function["strict"] = True
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {} if choice.parallel else {"parallel_tool_calls": False}
    if choice.mode == "named":
        fields["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
    elif choice.mode != "auto":
        fields["tool_choice"] = choice.mode
    return fields


def _response_format(wanted: OutputFormat) -> dict[str, Any]:
    if wanted.kind == "json_object" or not wanted.schema:
        return {"type": "json_object"}
    schema = {"name": "answer", "schema": wanted.schema, "strict": is_strict(wanted.schema)}
    return {"type": "json_schema", "json_schema": schema}


def _sampling(sampling: Sampling) -> dict[str, Any]:
    fields = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "presence_penalty": sampling.presence_penalty,
        "frequency_penalty": sampling.frequency_penalty,
        "seed": sampling.seed,
        "max_completion_tokens": sampling.max_tokens,
        "stop": list(sampling.stop) or None,
    }
    return {key: value for key, value in fields.items() if value is not None}
