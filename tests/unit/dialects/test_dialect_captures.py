"""Every captured request of a real client is understood, and its answer is valid."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from answers import MIXED
from dialect_sdk import ANTHROPIC, OPENAI, USER, context, serve, serve_json, stream_bytes

from fallback.core.conversation import Conversation, Text, ToolCall, ToolResult
from fallback.dialects import DIALECTS

CAPTURES = Path(__file__).resolve().parents[2] / "captures"
ENDPOINTS = {
    "/messages": "anthropic",
    "/messages/count_tokens": "anthropic",
    "/chat/completions": "openai-chat",
    "/responses": "openai-responses",
}


def captured() -> list[Any]:
    files = sorted(CAPTURES.glob("*.json"))
    found = [(path.stem, json.loads(path.read_bytes())) for path in files]
    return [
        pytest.param(ENDPOINTS[capture["path"].removeprefix("/v1")], capture["body"], id=stem)
        for stem, capture in found
        if capture["body"]
    ]


def decoded(name: str, body: dict[str, Any]) -> Conversation:
    conversation, raw = DIALECTS[name].decode(json.dumps(body).encode())
    assert raw == body
    return conversation


def texts_sent(value: Any) -> Iterator[str]:
    """All texts that a person or a tool wrote, in the messages of any dialect."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from texts_sent(item)
    elif isinstance(value, dict):
        for key in ("content", "text", "output"):
            yield from texts_sent(value.get(key))


def texts_kept(conversation: Conversation) -> str:
    parts = [part for turn in conversation.turns for part in turn.parts]
    kept = [part.text for part in parts if isinstance(part, Text | ToolResult)]
    return "\n".join([conversation.system, *kept])


@pytest.mark.parametrize(("name", "body"), captured())
def test_no_text_is_lost(name: str, body: dict[str, Any]) -> None:
    """Every text of the system prompt and the messages is in the conversation."""
    kept = texts_kept(decoded(name, body))
    for key in ("system", "instructions", "messages", "input"):
        assert all(text in kept for text in texts_sent(body.get(key)))


@pytest.mark.parametrize(("name", "body"), captured())
def test_settings_are_kept(name: str, body: dict[str, Any]) -> None:
    """Model, streaming, limit and structured output are what the client asked for."""
    conversation = decoded(name, body)
    assert conversation.model == body["model"]
    assert conversation.stream is body.get("stream", False)
    limit = body.get("max_tokens", body.get("max_output_tokens"))
    assert conversation.sampling.max_tokens == limit
    assert (conversation.output_format is not None) is asks_for_json(body)


def asks_for_json(body: dict[str, Any]) -> bool:
    places = [body.get("output_config"), body.get("text"), {"format": body.get("response_format")}]
    return any((place or {}).get("format") for place in places)


@pytest.mark.parametrize(("name", "body"), captured())
def test_tools_with_a_schema_are_offered(name: str, body: dict[str, Any]) -> None:
    """The client's own tools are offered, deferred ones and the provider's are not."""
    offered = {tool.name for tool in decoded(name, body).tools}
    own = [tool for tool in body.get("tools", []) if not tool.get("defer_loading")]
    names = {tool.get("name", tool.get("function", {}).get("name")) for tool in own}
    assert offered == names - {None}


@pytest.mark.parametrize(("name", "body"), captured())
def test_each_tool_result_has_its_call(name: str, body: dict[str, Any]) -> None:
    """Calls and results are paired, a call by the assistant before its result by the user."""
    calls: set[str] = set()
    for turn in decoded(name, body).turns:
        for part in turn.parts:
            if isinstance(part, ToolCall):
                assert turn.role == "assistant"
                assert json.loads(part.arguments)
                calls.add(part.id)
            elif isinstance(part, ToolResult):
                assert turn.role == "user"
                assert part.call_id in calls


@pytest.mark.parametrize(("name", "body"), captured())
def test_the_answer_is_valid(name: str, body: dict[str, Any]) -> None:
    """The SDK's types accept the answer, streamed and whole, with all that it echoes."""
    serve(stream_bytes(name, MIXED, body))
    ask(name, stream=True)
    serve_json(DIALECTS[name].encode_whole(context(body), MIXED))
    ask(name, stream=False)


def ask(name: str, *, stream: bool) -> None:
    if name == "anthropic":
        answer: Any = ANTHROPIC.messages.create(
            model="m", max_tokens=1, messages=USER, stream=stream
        )
    elif name == "openai-chat":
        answer = OPENAI.chat.completions.create(model="m", messages=USER, stream=stream)
    else:
        answer = OPENAI.responses.create(model="m", input="hi", stream=stream)
    assert list(answer)
