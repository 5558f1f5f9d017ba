"""What the official SDK reads from an answer in the `openai-responses` dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import (
    CUT,
    EMPTY,
    MIXED,
    STARTED,
    STRUCTURED,
    TEXT,
    answers,
    finished,
    visible_text,
)
from dialect_sdk import OPENAI, context, serve, serve_json, stream_bytes
from hypothesis import given, settings
from openai import APIError
from openai.types.responses import Response
from pydantic import BaseModel

from fallback.core.answer import AnswerEvent, ToolCallDelta, ToolCallEnded, ToolCallStarted
from fallback.dialects import DIALECTS

DIALECT = DIALECTS["openai-responses"]
PATCH: list[AnswerEvent] = [
    STARTED,
    ToolCallStarted(id="1", name="patch", kind="custom"),
    ToolCallDelta("*** Begin"),
    ToolCallDelta(" Patch"),
    ToolCallEnded(),
    finished("tool_calls"),
]


def sent(events: list[AnswerEvent], request: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    lines = stream_bytes("openai-responses", events, request).splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]


def streamed(events: list[AnswerEvent], request: dict[str, Any] | None = None) -> Response:
    """The response in the last event, after the SDK's accumulator took all of them."""
    serve(stream_bytes("openai-responses", events, request))
    with OPENAI.responses.stream(model="gpt", input="hi") as stream:
        *_, last = stream
    assert last.type in ("response.completed", "response.incomplete")
    return last.response


def whole(events: list[AnswerEvent], request: dict[str, Any] | None = None) -> Response:
    serve_json(DIALECT.encode_whole(context(request), events))
    response = OPENAI.responses.create(model="gpt", input="hi")
    assert isinstance(response, Response)
    return response


def plain(response: Response) -> Any:
    """The response without what the SDK's parser adds."""
    return _without_parsed(response.to_dict())


def _without_parsed(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_parsed(item) for item in value]
    if isinstance(value, dict):
        added = ("parsed", "parsed_arguments")
        return {key: _without_parsed(item) for key, item in value.items() if key not in added}
    return value


def test_text_arrives_with_usage_and_provenance() -> None:
    """A text answer is one message, with true model, usage and provenance."""
    response = streamed(TEXT)
    assert (response.output_text, response.status, response.model) == (
        "Hello",
        "completed",
        "smollm2",
    )
    assert response.id == "resp_t0k3n"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.total_tokens) == (7, 10)
    assert response.to_dict()["provenance"] == {"tier": "local", "reason": "outage"}


def test_events_come_in_the_order_of_the_protocol() -> None:
    """Items and parts open and close in order, and all events are numbered from 0."""
    events = sent(TEXT)
    assert [event["type"].removeprefix("response.") for event in events] == [
        "created",
        "in_progress",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "in_progress",
        "output_text.delta",
        "in_progress",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


def test_calls_follow_the_text() -> None:
    """Text and two calls are three items, each call with an id of its own."""
    message, first, second = (item.to_dict() for item in streamed(MIXED).output)
    assert message["type"] == "message"
    assert (first["name"], first["arguments"]) == ("read", '{"path": "a"}')
    assert (second["name"], second["arguments"]) == ("list", "{}")
    assert first["call_id"] != second["call_id"]


def test_a_custom_tool_gets_its_text_as_input() -> None:
    """A custom tool's call is an item of its own type, whose input is the plain text."""
    (item,) = (item.to_dict() for item in streamed(PATCH).output)
    assert item["type"] == "custom_tool_call"
    assert (item["name"], item["input"]) == ("patch", "*** Begin Patch")
    kinds = [event["type"] for event in sent(PATCH)]
    assert kinds.count("response.custom_tool_call_input.delta") == 2
    assert kinds.count("response.custom_tool_call_input.done") == 1


def test_a_call_names_the_namespace_of_its_tool() -> None:
    """A tool out of a namespace is called with both names, or the client cannot find it."""
    space = {"type": "namespace", "name": "files", "description": "", "tools": []}
    tool = {"type": "function", "name": "read", "parameters": {}}
    request = {"tools": [{**space, "tools": [tool]}]}
    _, first, second = (item.to_dict() for item in streamed(MIXED, request).output)
    assert first["namespace"] == "files"
    assert "namespace" not in second


def test_structured_output_parses() -> None:
    """The SDK's own parsing of structured output accepts the text."""

    class Person(BaseModel):
        name: str
        age: int

    serve(stream_bytes("openai-responses", STRUCTURED))
    with OPENAI.responses.stream(model="gpt", input="hi", text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(name="Ada", age=36)


def test_an_answer_cut_by_the_limit_is_incomplete() -> None:
    """An answer that the token limit cut says so, in the response and in its last item."""
    for response in (streamed(CUT), whole(CUT)):
        assert response.status == "incomplete"
        assert response.incomplete_details is not None
        assert response.incomplete_details.reason == "max_output_tokens"
        assert response.output[0].to_dict()["status"] == "incomplete"


def test_an_answer_without_text_has_no_item() -> None:
    """An empty answer is a completed response with no output."""
    for response in (streamed(EMPTY), whole(EMPTY)):
        assert (response.status, response.output) == ("completed", [])


def test_the_request_is_echoed_where_it_is_valid() -> None:
    """Valid fields of the request are repeated, invalid ones become the API's defaults."""
    asked = {
        "instructions": "be brief",
        "temperature": 0.5,
        "top_p": "high",
        "tool_choice": "required",
        "tools": [{"type": "function", "name": "read", "parameters": {}, "strict": True}, 7],
        "parallel_tool_calls": "no",
        "metadata": {"job": "a", "n": 1},
        "store": True,
    }
    echo = whole(TEXT, asked).to_dict()
    assert echo["instructions"] == "be brief"
    assert (echo["temperature"], echo["top_p"]) == (0.5, None)
    assert (echo["tool_choice"], echo["parallel_tool_calls"]) == ("required", True)
    assert echo["tools"] == asked["tools"][:1]  # type: ignore[index]
    assert echo["metadata"] == {"job": "a"}
    assert echo["store"] is False


def test_a_failure_in_mid_stream_is_a_failed_response() -> None:
    """The client learns from `response.failed` that the answer is broken, with a known code."""
    encoder = DIALECT.stream_encoder(context())
    begun = b"".join(map(encoder.encode, TEXT[:2]))
    serve(begun + encoder.error("the model died", code="local_engine_failed"))
    with OPENAI.responses.stream(model="gpt", input="hi") as stream:
        *_, last = stream
    assert last.type == "response.failed"
    assert last.response.error is not None
    assert (last.response.error.code, last.response.error.message) == (
        "server_error",
        "the model died",
    )


def test_a_break_of_the_upstream_raises_in_the_client() -> None:
    """When no response is known the error event alone is an error to the SDK."""
    begun = stream_bytes("openai-responses", TEXT).partition(b"event: response.completed")[0]
    serve(begun + DIALECT.broken("the cloud went away", code="upstream_stream_broken"))
    with (
        pytest.raises(APIError, match="the cloud went away"),
        OPENAI.responses.stream(model="gpt", input="hi") as stream,
    ):
        stream.get_final_response()


@settings(max_examples=25, deadline=None)
@given(answers())
def test_stream_and_whole_say_the_same(events: list[AnswerEvent]) -> None:
    """Whatever the answer, the SDK's last response from the stream is the whole body."""
    response = streamed(events)
    assert plain(response) == plain(whole(events))
    assert "".join(response.output_text.split()) == visible_text(events)
