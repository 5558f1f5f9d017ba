"""Anthropic Messages: a conversation -> a request's body.

What this protocol has no word for: reasoning that another model wrote, how to sample (models
since Opus 4.7 refuse temperature and the like), any JSON object as a format (asked for in the
system prompt), a schema's finer limits (told in its descriptions), instructions in
mid-conversation (they become the user's words: models before Opus 4.8 refuse them), blank texts
and turns without any. Turns of one role in a row are one, as the API itself reads them. Custom
tools are functions here. The user has the first and the last word: models since Opus 4.6 refuse
to go on with a message of the assistant's.

Source: https://docs.claude.com/en/api/messages and the request types of the `anthropic` package.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from itertools import groupby
from typing import Any

from fallback.core.conversation import (
    Conversation,
    Sampling,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.dialects.asking import JSON_ONLY, sayable
from fallback.dialects.custom_tools import as_function, custom_names, json_arguments
from fallback.dialects.decoding import called_names, joined
from fallback.dialects.jsonvalues import dump_text, parse, string
from fallback.dialects.pairing import paired

# The field is required. What models of this API can write at least, the first ones left out.
_MAX_TOKENS = 8192
_GO_ON = {"role": "user", "content": [{"type": "text", "text": "Go on."}]}
_CHOICES = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
_SCHEMA_KEYS = frozenset(
    {"$defs", "$ref", "type", "anyOf", "allOf", "enum", "const", "description", "title"}
    | {"definitions", "properties", "required", "items", "format", "minItems"}
)
_NEEDLESS_KEYS = frozenset({"$schema", "additionalProperties", "default", "strict"})


def request(conversation: Conversation) -> dict[str, Any]:
    """The body as plain data."""
    body: dict[str, Any] = {
        "model": conversation.model,
        "max_tokens": _MAX_TOKENS,
        "messages": _begun_and_ended(list(_messages(conversation))),
        **_sampling(conversation.sampling),
    }
    system = conversation.system
    if (wanted := conversation.output_format) is not None:
        if wanted.kind == "json_schema" and wanted.schema:
            schema = {"type": "json_schema", "schema": supported(wanted.schema)}
            body["output_config"] = {"format": schema}
        else:
            system = joined([system, JSON_ONLY])
    if system:
        body["system"] = system
    body |= _offer(conversation)
    if conversation.stream:
        body["stream"] = True
    return body


def _messages(conversation: Conversation) -> Iterator[dict[str, Any]]:
    custom = custom_names(conversation.tools)
    turns = [
        turn if turn.role == "assistant" else Turn("user", turn.parts)
        for turn in paired(conversation.turns)
    ]
    for role, run in groupby(turns, key=lambda turn: turn.role):
        content = [block for turn in run for block in _blocks(turn, custom)]
        if content:
            yield {"role": role, "content": content}


def _begun_and_ended(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    if messages and messages[0]["role"] == "assistant":
        messages.insert(0, _GO_ON)
    if messages and messages[-1]["role"] == "assistant":
        messages.append(_GO_ON)
    return messages


def _blocks(turn: Turn, custom: Container[str]) -> Iterator[dict[str, Any]]:
    for part in turn.parts:
        match part:
            case ToolCall(id=id_, name=name):
                input_ = parse(json_arguments(part, custom))
                yield {"type": "tool_use", "id": id_, "name": name, "input": input_}
            case ToolResult():
                yield _result(part)
            case _:
                yield from ({"type": "text", "text": text} for text in sayable([part]))


def _result(result: ToolResult) -> dict[str, Any]:
    block = {"type": "tool_result", "tool_use_id": result.call_id, "content": result.text}
    return {**block, "is_error": True} if result.is_error else block


def _offer(conversation: Conversation) -> dict[str, Any]:
    """The tools and the choice among them."""
    if conversation.tools:
        tools = [_tool(as_function(tool)) for tool in conversation.tools]
        return {"tools": tools, **_tool_choice(conversation.tool_choice)}
    # A history with calls is refused unless the tools that it calls are declared.
    if called := sorted(called_names(conversation.turns)):
        tools = [_tool(Tool(name=name)) for name in called]
        return {"tools": tools, "tool_choice": {"type": "none"}}
    return {}


def _tool(tool: Tool) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": tool.name}
    if tool.description:
        fields["description"] = tool.description
    return {**fields, "input_schema": {**tool.parameters, "type": "object"}}


def _tool_choice(choice: ToolChoice) -> dict[str, Any]:
    fields: dict[str, Any] = {"type": _CHOICES[choice.mode]}
    if choice.mode == "named":
        fields["name"] = choice.name
    if choice.mode != "none" and not choice.parallel:
        fields["disable_parallel_tool_use"] = True
    return {} if fields == {"type": "auto"} else {"tool_choice": fields}


def supported(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema as structured outputs take it: objects closed, and what they do not know told
    in the description.

    Source: https://docs.claude.com/en/docs/build-with-claude/structured-outputs
    """
    given = dict(schema)
    if isinstance(one_of := given.pop("oneOf", None), list):
        given["anyOf"] = one_of
    known = {key: _supported_value(key, given[key]) for key in given if key in _SCHEMA_KEYS}
    unknown = {key: given[key] for key in given if key not in _SCHEMA_KEYS | _NEEDLESS_KEYS}
    if given.get("minItems", 0) not in (0, 1):
        unknown["minItems"] = known.pop("minItems")
    if unknown:
        known["description"] = joined([string(given.get("description")), dump_text(unknown)])
    if given.get("type") == "object":
        known["additionalProperties"] = False
    return known


def _supported_value(key: str, value: Any) -> Any:
    if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
        return {name: _supported_schema(inner) for name, inner in value.items()}
    if key in ("anyOf", "allOf") and isinstance(value, list):
        return list(map(_supported_schema, value))
    return _supported_schema(value) if key == "items" else value


def _supported_schema(value: Any) -> Any:
    return supported(value) if isinstance(value, dict) else value


def _sampling(sampling: Sampling) -> dict[str, Any]:
    # Sequences of white space alone are refused.
    stops = [text for text in sampling.stop if text.strip()]
    fields = {"max_tokens": sampling.max_tokens, "stop_sequences": stops}
    return {key: value for key, value in fields.items() if value}
