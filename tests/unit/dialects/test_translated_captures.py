"""Every captured request of a real client can be asked of a server of another dialect."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_type_hints

import pytest
from anthropic.types import message_create_params
from asked import spoken
from openai.types.chat import completion_create_params
from openai.types.responses import response_create_params
from pydantic import TypeAdapter
from test_dialect_captures import captured

from fallback.core.conversation import Conversation, Text, ToolCall, ToolResult
from fallback.dialects import DIALECTS
from fallback.dialects.asking import JSON_ONLY

TYPES: Mapping[str, tuple[Any, Any]] = {
    "anthropic": (
        message_create_params.MessageCreateParamsNonStreaming,
        message_create_params.MessageCreateParamsStreaming,
    ),
    "openai-chat": (
        completion_create_params.CompletionCreateParamsNonStreaming,
        completion_create_params.CompletionCreateParamsStreaming,
    ),
    "openai-responses": (
        response_create_params.ResponseCreateParamsNonStreaming,
        response_create_params.ResponseCreateParamsStreaming,
    ),
}
ADAPTERS = {type_: TypeAdapter(type_) for types in TYPES.values() for type_ in types}


def assert_accepted(name: str, body: dict[str, Any]) -> None:
    """The official SDK's own types take the body, each item of it, and know each of its fields."""
    type_ = TYPES[name][body.get("stream", False)]
    assert body.keys() <= get_type_hints(type_).keys()
    exhaust(ADAPTERS[type_].validate_python(body, strict=True))


def exhaust(value: Any) -> None:
    """Read all of a value: pydantic validates an iterable only while it is being read."""
    if isinstance(value, Mapping):
        value = value.values()
    if isinstance(value, Iterable) and not isinstance(value, str):
        for item in value:
            exhaust(item)


@pytest.mark.parametrize("target", DIALECTS)
@pytest.mark.parametrize(("source", "body"), captured())
def test_translations_lose_nothing(source: str, body: dict[str, Any], target: str) -> None:
    """The request has the right types, and all texts, calls, results and tools of the client's."""
    asked, _ = DIALECTS[source].decode(json.dumps(body).encode())
    translated = DIALECTS[target].encode_request(asked)
    assert_accepted(target, json.loads(translated))
    read, _ = DIALECTS[target].decode(translated)
    assert flat(read) == flat(asked)
    assert [tool.name for tool in read.tools] == [tool.name for tool in offered(asked, target)]
    assert read.tool_choice.mode == asked.tool_choice.mode
    assert read.system.startswith(asked.system)
    assert read.stream is asked.stream
    assert asks_for_json(read) is asks_for_json(asked)


def asks_for_json(conversation: Conversation) -> bool:
    """By its field, or in words."""
    return conversation.output_format is not None or conversation.system.endswith(JSON_ONLY)


def flat(conversation: Conversation) -> list[Any]:
    """What was said, without what a translation may change: instructions in mid-conversation,
    which are the user's words to some, and the marks of failure and of free text."""
    found: list[Any] = []
    for role, part in spoken(conversation.turns):
        match part:
            case Text(text) if text.strip():
                found.append(("assistant" if role == "assistant" else "user", text))
            case ToolCall(id=id_, name=name):
                found.append((id_, name))
            case ToolResult(call_id=id_, text=text):
                found.append((id_, text.removeprefix("error: ")))
    return found


def offered(asked: Conversation, target: str) -> list[Any]:
    if asked.tools or target != "anthropic":
        return list(asked.tools)
    calls = (part for turn in asked.turns for part in turn.parts if isinstance(part, ToolCall))
    return sorted(calls, key=lambda call: call.name)
