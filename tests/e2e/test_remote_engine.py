"""The local tier over an OpenAI-compatible server: another `fallback`, whose cloud is dead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sdk_clients
from standin import StandIn, faults
from standin.service import PATIENT, Fallback, running_fallback

from fallback.core.conversation import Conversation, Text, Turn
from fallback.core.ports import GenerateRequest, GenerationFinished, Piece
from fallback.dialects import DIALECTS
from fallback.local.remote.engine import RemoteEngine
from fallback.local.remote.settings import RemoteSettings
from fallback.upstream.direct import DirectTransport
from fallback.upstream.transport import TransportError, UpstreamConfig

# Nothing listens there: the discard port of a machine that runs no such service.
_NO_CLOUD = "http://127.0.0.1:9"
_HI: Any = [{"role": "user", "content": "Say hello."}]
_SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    """The model server."""
    log = tmp_path_factory.mktemp("server") / "log"
    with running_fallback(_NO_CLOUD, log, LOCAL__MAX_OUTPUT_TOKENS="64") as running:
        yield running


@pytest.fixture(scope="module")
def service(server: Fallback, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    """A service without a model of its own."""
    log: Path = tmp_path_factory.mktemp("service") / "log"
    remote = {"LOCAL__MODE": "remote", "LOCAL__REMOTE__URL": f"{server.url}/v1"}
    with running_fallback(_NO_CLOUD, log, **remote) as running:
        yield running


def test_the_servers_model_is_the_local_one(service: Fallback) -> None:
    """The status tells whose model it is, and claims no file."""
    local = service.status()["local"]
    assert (local["state"], local["pid"]) == ("ready", None)
    assert (local["model"]["sha256"], local["model"]["engine"]) == (None, "remote fallback")


def test_a_stream_comes_through(service: Fallback) -> None:
    """The official SDK's accumulator takes it, with the server's counts and the provenance."""
    with sdk_clients.claude(service.url).messages.stream(
        model="c", max_tokens=24, messages=_HI
    ) as stream:
        message: Any = stream.get_final_message()
    assert message.content[0].text
    assert message.usage.output_tokens > 0
    assert message.provenance["tier"] == "local"
    assert message.provenance["model"]["engine"] == "remote fallback"


def test_a_tool_call_comes_through(service: Fallback) -> None:
    """The server writes it under its grammar; here it passes as the call it is."""
    tool: Any = {"name": "look_up", "description": "Looks up.", "input_schema": _SCHEMA}
    message = sdk_clients.claude(service.url).messages.create(
        model="c",
        max_tokens=60,
        messages=[{"role": "user", "content": "Look up Paris."}],
        tools=[tool],
        tool_choice={"type": "tool", "name": "look_up", "disable_parallel_tool_use": True},
    )
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert call.input.keys() == {"city"}


def test_structured_output_comes_through(service: Fallback) -> None:
    """The schema reaches the server, in another dialect than the client's."""
    response = sdk_clients.gpt(service.url).responses.create(
        model="gpt",
        input="Name a city as JSON.",
        text={"format": {"type": "json_schema", "name": "city", "schema": _SCHEMA}},
    )
    assert json.loads(response.output_text).keys() == {"city"}


def test_tokens_are_counted_by_the_server(server: Fallback, service: Fallback) -> None:
    """The same model gives the same count, asked directly or through the other."""
    counts = [
        sdk_clients.claude(asked.url).messages.count_tokens(model="c", messages=_HI).input_tokens
        for asked in (server, service)
    ]
    assert counts[0] == counts[1]


def test_an_answer_is_gone_on_with(server: Fallback) -> None:
    """The beginning is not said again, and what follows it fits."""
    beginning = "One, two, three, four,"
    turns = (Turn("user", (Text("Count to nine in words, separated by commas."),)),)
    request = GenerateRequest(
        id="rcp_1",
        conversation=Conversation(model="c", turns=turns),
        max_tokens=16,
        prompt_budget_tokens=512,
        prefix=beginning,
    )
    said, last = asyncio.run(_generated(server, request))
    assert isinstance(last, GenerationFinished)
    assert said.lstrip().lower().startswith("five")


def test_a_cloud_stream_that_breaks_is_finished_by_the_server(
    cloud: StandIn, mending: Fallback
) -> None:
    """The client has one whole answer, whose provenance tells who said what."""
    with (
        cloud.failing(faults.reset(2)),
        sdk_clients.gpt(mending.url).responses.stream(
            model="gpt", input="Say hello.", max_output_tokens=64
        ) as stream,
    ):
        response: Any = stream.until_done().get_final_response()
    assert response.status in ("completed", "incomplete")
    began, ended = response.provenance["segments"]
    assert (began["tier"], ended["tier"]) == ("cloud", "local")
    assert 0 < ended["from_char"] < len(response.output_text)


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture(scope="module")
def mending(
    cloud: StandIn, server: Fallback, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fallback]:
    """A service with a cloud and without a model of its own."""
    log: Path = tmp_path_factory.mktemp("mending") / "log"
    remote = {"LOCAL__MODE": "remote", "LOCAL__REMOTE__URL": f"{server.url}/v1"}
    with running_fallback(cloud.url, log, **PATIENT, **remote) as running:
        yield running


async def _generated(server: Fallback, request: GenerateRequest) -> tuple[str, object]:
    transport = DirectTransport(connect_s=3.0)
    config = UpstreamConfig(name="local", family="openai", base_url=server.url)
    engine = RemoteEngine(
        RemoteSettings(url=server.url),
        DIALECTS["openai-chat"],
        partial(transport.send, config),
        failures=TransportError,
    )
    try:
        events = [event async for event in engine.generate(request)]
    finally:
        await engine.stop()
        await transport.aclose()
    return "".join(event.text for event in events if isinstance(event, Piece)), events[-1]
