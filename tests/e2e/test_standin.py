"""The stand-in itself: what it says must be what a cloud says, or no test here means anything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import asks
import pytest
import raw_http
import valid_answers
from standin import StandIn, faults, free_port, standin_process

_TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_answers_are_valid_for_the_sdks(cloud: StandIn, ask: asks.Ask, stream: bool) -> None:
    """Its answers satisfy the official SDKs' types, and events come in order."""
    answer = raw_http.send(cloud.url, "POST", ask.path, asks.KEYS, ask.body(stream=stream))
    seen = valid_answers.read(ask.path, streamed=stream, body=answer.body)
    assert (seen.model, seen.text) == (
        ask.model,
        "The cloud stand-in is well, and this is its answer.",
    )


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_marked_prompts_call_tools(cloud: StandIn, ask: asks.Ask, stream: bool) -> None:
    """A marked prompt gets a call of the tool named, with arguments that fit its schema."""
    body = json.loads(ask.body("[[call weather]]", stream=stream))
    function = {"name": "weather", "parameters": _TOOL}
    body["tools"] = {
        "/v1/messages": [{"name": "weather", "input_schema": _TOOL}],
        "/v1/chat/completions": [{"type": "function", "function": function}],
        "/v1/responses": [{"type": "function", "strict": False, **function}],
    }[ask.path]
    answer = raw_http.send(cloud.url, "POST", ask.path, asks.KEYS, json.dumps(body).encode())
    seen = valid_answers.read(ask.path, streamed=stream, body=answer.body)
    assert seen.calls == (("weather", '{"city": "Paris"}'),)


@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_answers_repeat_exactly(cloud: StandIn, ask: asks.Ask) -> None:
    """The same request gets the same bytes, so that going direct can be compared."""
    first, second = (
        raw_http.send(cloud.url, "POST", ask.path, asks.KEYS, ask.body(stream=True))
        for _ in range(2)
    )
    assert first == second


def test_keyless_probes_get_401_in_json(cloud: StandIn) -> None:
    """Without a key the edge answers 401 in JSON, as the connectivity ladder expects."""
    answer = raw_http.send(cloud.url, "GET", "/v1/models")
    assert answer.status == 401
    assert "error" in json.loads(answer.body)


def test_a_client_that_leaves_is_noticed(cloud: StandIn) -> None:
    """A client that closes while its answer is held back sets the request's `left`."""
    cloud.forget()
    with cloud.failing(faults.silence):
        connection = raw_http.open_request(cloud.url, "/x", (), b"")
        request = cloud.await_request("/x")
        connection.close()
        assert request.left.wait(5)


def test_a_cut_stream_is_seen_as_cut(cloud: StandIn) -> None:
    """A cut stream ends without its last chunk, a clean end with it."""
    with cloud.failing(faults.cut(2)):
        cut = raw_http.send(
            cloud.url, "POST", "/v1/messages", asks.KEYS, asks.MESSAGES.body(stream=True)
        )
    with cloud.failing(faults.clean_end(2)):
        clean = raw_http.send(
            cloud.url, "POST", "/v1/messages", asks.KEYS, asks.MESSAGES.body(stream=True)
        )
    assert (cut.whole, clean.whole) == (False, True)
    assert cut.body == clean.body


def test_the_process_comes_back_on_its_port(tmp_path: Path) -> None:
    """As a process it can be killed, refuses connections, and comes back on the same port."""
    with standin_process(free_port(), tmp_path / "standin.log") as process:
        assert raw_http.send(process.url, "GET", "/v1/models").status == 401
        process.kill()
        with pytest.raises(ConnectionRefusedError):
            raw_http.send(process.url, "GET", "/v1/models")
        process.start()
        assert raw_http.send(process.url, "GET", "/v1/models").status == 401
