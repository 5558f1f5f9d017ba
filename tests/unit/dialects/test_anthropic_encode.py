"""What the official SDK reads from an answer in the `anthropic` dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import CUT, EMPTY, MIXED, STOPPED, STRUCTURED, TEXT, answers, visible_text
from anthropic import APIStatusError
from anthropic.types import Message
from dialect_sdk import ANTHROPIC, USER, context, serve, serve_json, stream_bytes
from hypothesis import given, settings
from pydantic import BaseModel

from fallback.core.answer import AnswerEvent, TextDelta
from fallback.dialects import DIALECTS

ASKED: dict[str, Any] = {"model": "claude", "max_tokens": 9, "messages": USER}
DIALECT = DIALECTS["anthropic"]


def streamed(events: list[AnswerEvent]) -> Message:
    serve(stream_bytes("anthropic", events))
    with ANTHROPIC.messages.stream(**ASKED) as stream:
        return stream.get_final_message()


def whole(events: list[AnswerEvent]) -> Message:
    serve_json(DIALECT.encode_whole(context(), events))
    message = ANTHROPIC.messages.create(**ASKED)
    assert isinstance(message, Message)
    return message


def data_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.splitlines() if line.startswith(b"data: ")]


def test_text_arrives_with_usage_and_provenance() -> None:
    """A text answer reads as one text block, with true model, usage and provenance."""
    message = streamed(TEXT)
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Hello"}]
    assert (message.id, message.model, message.stop_reason) == (
        "msg_t0k3n",
        "smollm2",
        "end_turn",
    )
    assert message.usage.input_tokens == 5
    assert message.usage.cache_read_input_tokens == 2
    assert message.usage.output_tokens == 3
    assert message.to_dict()["provenance"] == {"tier": "local", "reason": "outage"}


def test_calls_follow_the_text_and_thinking_stays_home() -> None:
    """Text and two calls are three blocks; thinking is none, for the cloud would refuse it."""
    message = streamed(MIXED)
    assert [block.type for block in message.content] == ["text", "tool_use", "tool_use"]
    assert message.stop_reason == "tool_use"
    _, first, second = (block.to_dict() for block in message.content)
    assert (first["name"], first["input"]) == ("read", {"path": "a"})
    assert (second["name"], second["input"]) == ("list", {})
    assert first["id"] != second["id"]


def test_events_come_in_the_order_of_the_protocol() -> None:
    """Every block starts, grows and stops before the next, and the message ends once."""
    kinds = [event["type"] for event in data_of(stream_bytes("anthropic", TEXT))]
    assert kinds == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "ping",
        "content_block_delta",
        "ping",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_structured_output_parses() -> None:
    """The SDK's own parsing of structured output accepts the text."""

    class Person(BaseModel):
        name: str
        age: int

    serve(stream_bytes("anthropic", STRUCTURED))
    with ANTHROPIC.messages.stream(**ASKED, output_format=Person) as stream:
        assert stream.get_final_message().parsed_output == Person(name="Ada", age=36)


@pytest.mark.parametrize(
    ("events", "reason", "sequence"),
    [(CUT, "max_tokens", None), (STOPPED, "stop_sequence", "END"), (EMPTY, "end_turn", None)],
)
def test_stop_reasons(events: list[AnswerEvent], reason: str, sequence: str | None) -> None:
    """The stop reason is the protocol's word, and the stop sequence is named."""
    for message in (streamed(events), whole(events)):
        assert (message.stop_reason, message.stop_sequence) == (reason, sequence)


def test_an_answer_without_text_has_no_block() -> None:
    """An empty or blank text block would be refused when sent back, so there is none."""
    blank = [EMPTY[0], TextDelta(" \n"), EMPTY[-1]]
    for events in (EMPTY, blank):
        assert streamed(events).content == []
        assert whole(events).content == []


def test_a_call_cut_short_is_left_out_of_a_body() -> None:
    """A tool must never be run with the empty object that the cut arguments would become."""
    events = [MIXED[0], *MIXED[3:5], MIXED[6], CUT[-1]]
    message = whole(events)
    assert (message.content, message.stop_reason) == ([], "max_tokens")


def test_a_break_in_mid_stream_raises_in_the_client() -> None:
    """An error event after content is an error to the SDK, never a short answer."""
    encoder = DIALECT.stream_encoder(context())
    begun = b"".join(map(encoder.encode, TEXT[:2]))
    serve(begun + encoder.error("the model died", code="local_engine_failed"))
    with (
        pytest.raises(APIStatusError, match="the model died"),
        ANTHROPIC.messages.stream(**ASKED) as stream,
    ):
        stream.get_final_message()


def test_a_busy_engine_reads_as_overloaded() -> None:
    """An error that passes by itself has the type that clients wait for."""
    body = data_of(DIALECT.broken("busy", code="local_engine_busy"))
    assert body[0]["error"]["type"] == "overloaded_error"


@settings(max_examples=25, deadline=None)
@given(answers())
def test_stream_and_whole_say_the_same(events: list[AnswerEvent]) -> None:
    """Whatever the answer, the SDK accumulates from the stream what the whole body says."""
    message = streamed(events)
    assert message.to_dict() == {**whole(events).to_dict(), "stop_details": None}
    texts = [block.text for block in message.content if block.type == "text"]
    assert "".join("".join(texts).split()) == visible_text(events)
    assert all(text.strip() for text in texts)
