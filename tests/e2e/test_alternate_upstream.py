"""Alternates of another protocol, asked through the official SDKs: a second `fallback` with a real
model stands in for clouds that are dead."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
import sdk_clients
from anthropic.types import Message
from standin.service import Fallback, running_fallback

# Nothing listens there: the discard port of a machine that runs no such service.
_NO_CLOUD = "http://127.0.0.1:9"
_ASK = "Look up the weather in Paris."
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    """What stands in. It answers in each protocol, from its local model."""
    log = tmp_path_factory.mktemp("server") / "log"
    with running_fallback(_NO_CLOUD, log, LOCAL__MAX_OUTPUT_TOKENS="64") as running:
        yield running


@pytest.fixture(scope="module")
def service(server: Fallback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    """A service without a local tier, both of whose clouds are dead."""
    settings = {"LOCAL__MODE": "off"}
    for cloud, name, dialect in (
        ("ANTHROPIC", "backup", "openai-chat"),
        ("OPENAI", "spare", "anthropic"),
    ):
        upstream = f"UPSTREAMS__{name.upper()}__"
        settings |= {
            f"UPSTREAMS__{cloud}__ALTERNATES": name,
            f"{upstream}BASE_URL": server.url,
            f"{upstream}FAMILY": dialect.partition("-")[0],
            f"{upstream}DIALECT": dialect,
            f"{upstream}KEY": "none",
        }
    log = tmp_path_factory.mktemp("service") / "log"
    with running_fallback(_NO_CLOUD, log, **settings) as running:
        yield running


@pytest.mark.parametrize("stream", [True, False])
def test_messages_by_way_of_chat_completions(service: Fallback, stream: bool) -> None:
    """A tool call comes back as the official SDK expects it, streamed and whole."""
    ask: dict[str, Any] = {
        "model": "claude-x",
        "max_tokens": 60,
        "messages": [{"role": "user", "content": _ASK}],
        "tools": [{"name": "weather", "description": "The weather.", "input_schema": _SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }
    message = _message(sdk_clients.claude(service.url), ask, stream=stream)
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert isinstance(call.input, dict)
    assert call.input.keys() == {"city"}
    # What another answer has read already counts as cached.
    assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) > 0
    told: Any = message
    assert (told.provenance["tier"], told.provenance["upstream"]) == ("alternate", "backup")


def _message(client: anthropic.Anthropic, ask: dict[str, Any], *, stream: bool) -> Message:
    if stream:
        with client.messages.stream(**ask) as events:
            return events.get_final_message()
    message = client.messages.create(**ask)
    assert isinstance(message, Message)
    return message


@pytest.mark.parametrize("stream", [True, False])
def test_chat_completions_by_way_of_messages(service: Fallback, stream: bool) -> None:
    """Structured output keeps its schema on the way there, and its text on the way back."""
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "place", "schema": _SCHEMA}}
    ask: dict[str, Any] = {
        "model": "gpt",
        "messages": [{"role": "user", "content": "Name a city as JSON."}],
        "response_format": wanted,
    }
    client = sdk_clients.gpt(service.url).chat.completions
    if stream:
        chunks = [chunk for chunk in client.create(**ask, stream=True) if chunk.choices]
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert chunks[-1].choices[0].finish_reason == "stop"
    else:
        text = client.create(**ask).choices[0].message.content or ""
    assert json.loads(text).keys() == {"city"}


def test_responses_by_way_of_messages(service: Fallback) -> None:
    """A custom tool, which Messages does not know, is called with free text all the same."""
    tool: Any = {"type": "custom", "name": "note", "description": "Notes a short text."}
    with sdk_clients.gpt(service.url).responses.stream(
        model="gpt", input="Note down: buy milk.", tools=[tool], tool_choice="required"
    ) as stream:
        response = stream.until_done().get_final_response()
    call = response.output[-1]
    assert call.type == "custom_tool_call"
    assert call.name == "note"
    assert not call.input.startswith('{"input"')


def test_the_status_counts_an_alternates_answers(service: Fallback) -> None:
    """Nobody else could have answered."""
    before = service.status()["answered_by"].get("alternate", 0)
    hi: Any = [{"role": "user", "content": "Say hello."}]
    sdk_clients.claude(service.url).messages.create(model="claude-x", max_tokens=8, messages=hi)
    assert service.status()["answered_by"] == {"alternate": before + 1}
