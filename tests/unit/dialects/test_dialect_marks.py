"""What an upstream's events mean, in each dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import EMPTY, answers
from dialect_sdk import context, stream_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.core.answer import AnswerEvent
from fallback.dialects import DIALECTS
from fallback.dialects.base import ErrorFacts, Mark
from fallback.dialects.sse import format_event, split_events

ANTHROPIC, CHAT, RESPONSES = "anthropic", "openai-chat", "openai-responses"
WATCHED = {Mark.FINISHED, Mark.END, Mark.ERROR}


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def block_start(**block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": 0, "content_block": block}


MESSAGE = {"type": "message", "content": []}

CASES: list[tuple[str, Any, Mark]] = [
    (ANTHROPIC, {"type": "message_start", "message": {}}, Mark.PROLOGUE),
    (ANTHROPIC, {"type": "ping"}, Mark.PROLOGUE),
    (ANTHROPIC, {"type": "content_block_start", "index": 0}, Mark.CONTENT),
    (ANTHROPIC, block_start(type="text", text=""), Mark.PROLOGUE),
    (ANTHROPIC, block_start(type="thinking", thinking=""), Mark.CONTENT),
    (ANTHROPIC, block_start(type="tool_use", name="f"), Mark.CONTENT),
    (ANTHROPIC, {"type": "content_block_delta", "index": 0}, Mark.CONTENT),
    (ANTHROPIC, {"type": "message_delta", "delta": {"stop_reason": None}}, Mark.PROLOGUE),
    (ANTHROPIC, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, Mark.FINISHED),
    (ANTHROPIC, {"type": "message_stop"}, Mark.END),
    (ANTHROPIC, {"type": "error", "error": {"type": "overloaded_error"}}, Mark.ERROR),
    (ANTHROPIC, {"error": {"message": "no type"}}, Mark.ERROR),
    (ANTHROPIC, {"type": "from_the_future", "error": {"a": 1}}, Mark.PROLOGUE),
    (CHAT, chunk(role="assistant", content=""), Mark.PROLOGUE),
    (CHAT, chunk(content="a"), Mark.CONTENT),
    (CHAT, chunk(tool_calls=[{"index": 0}]), Mark.CONTENT),
    (CHAT, chunk(refusal="no"), Mark.CONTENT),
    (CHAT, chunk(reasoning_content="hm"), Mark.CONTENT),
    (CHAT, chunk("stop"), Mark.FINISHED),
    (CHAT, {"choices": [], "usage": {}}, Mark.PROLOGUE),
    (CHAT, {"error": {"message": "busy"}}, Mark.ERROR),
    (CHAT, {"error": "busy"}, Mark.ERROR),
    (CHAT, {"type": "x", "error": {"message": "busy"}}, Mark.ERROR),
    (RESPONSES, {"type": "response.created", "response": {"error": None}}, Mark.PROLOGUE),
    (RESPONSES, {"type": "response.output_item.added", "item": {}}, Mark.CONTENT),
    (RESPONSES, {"type": "response.output_item.added", "item": MESSAGE}, Mark.PROLOGUE),
    (RESPONSES, {"type": "response.output_text.delta", "delta": "a"}, Mark.CONTENT),
    (RESPONSES, {"type": "response.completed", "response": {}}, Mark.END),
    (RESPONSES, {"type": "response.incomplete", "response": {}}, Mark.END),
    (RESPONSES, {"type": "response.failed", "response": {"error": {}}}, Mark.ERROR),
    (RESPONSES, {"type": "error", "message": "busy"}, Mark.ERROR),
    (RESPONSES, {"type": "response.from_the_future"}, Mark.PROLOGUE),
]


def spellings(data: Any) -> list[bytes]:
    """One event as different servers write it."""
    compact = json.dumps(data, separators=(",", ":")).encode()
    spaced = json.dumps(data).encode()
    pretty = json.dumps(data, indent=1).encode().replace(b"\n", b"\ndata: ")
    named = data.get("type")
    return [
        b"data: " + compact + b"\n\n",
        b"data:" + spaced + b"\r\n\r\n",
        b": hello\r\ndata: " + compact + b"\r\r",
        b"data: " + pretty + b"\n\n",
        format_event(spaced, named),
    ]


@pytest.mark.parametrize(("name", "data", "mark"), CASES)
def test_marks(name: str, data: Any, mark: Mark) -> None:
    """An event means the same however it is spelled, and `watch` misses none that matters."""
    dialect = DIALECTS[name]
    for event in spellings(data):
        assert dialect.mark(event) is mark
        if mark in WATCHED:
            assert dialect.watch.search(b"data: {}\n\n" + event)


@pytest.mark.parametrize("name", DIALECTS)
def test_events_without_an_object(name: str) -> None:
    """Comments and bare values mean nothing, what is not JSON is malformed."""
    dialect = DIALECTS[name]
    assert dialect.mark(b": keep-alive\n\n") is Mark.PROLOGUE
    assert dialect.mark(b"event: ping\n\n") is Mark.PROLOGUE
    assert dialect.mark(b"data: null\n\n") is Mark.PROLOGUE
    assert dialect.mark(b"data: <html>\n\n") is Mark.MALFORMED
    assert dialect.mark(b"data: " + b"[" * 100_000 + b"\n\n") is Mark.MALFORMED
    assert dialect.mark(b'event: error\ndata: {"message": "busy"}\n\n') is Mark.ERROR


def test_done_ends_only_a_chat() -> None:
    """`[DONE]` is the end of a chat, and nothing where the protocol has an end of its own."""
    marks = {name: dialect.mark(b"data: [DONE]\n\n") for name, dialect in DIALECTS.items()}
    assert marks == {ANTHROPIC: Mark.PROLOGUE, CHAT: Mark.END, RESPONSES: Mark.PROLOGUE}
    assert DIALECTS[CHAT].watch.search(b"data: [DONE]\n\n")


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=25, deadline=None)
@given(events=answers())
def test_our_own_streams_end_once(name: str, events: list[AnswerEvent]) -> None:
    """An encoded answer holds no error or malformed event, and its last one is its end."""
    cut, rest = split_events(stream_bytes(name, events))
    marks = [DIALECTS[name].mark(event) for event in cut]
    assert rest == b""
    assert not {Mark.ERROR, Mark.MALFORMED} & set(marks)
    assert marks.index(Mark.END) == len(marks) - 1


@pytest.mark.parametrize("name", [ANTHROPIC, CHAT])
def test_the_terminal_event_completes_a_finished_answer(name: str) -> None:
    """`terminal` is the end that may be missing once an answer was marked finished."""
    dialect = DIALECTS[name]
    assert stream_bytes(name, EMPTY).endswith(dialect.terminal)
    assert dialect.mark(dialect.terminal) is Mark.END


@pytest.mark.parametrize("name", DIALECTS)
def test_our_own_errors_are_marked_as_errors(name: str) -> None:
    """What tells a client of a broken answer would tell us too."""
    dialect = DIALECTS[name]
    encoder = dialect.stream_encoder(context())
    for event in (dialect.broken("gone", code="c"), encoder.error("gone", code="c")):
        assert dialect.mark(event) is Mark.ERROR
        assert dialect.stream_error(event).message == "gone"


@pytest.mark.parametrize(
    ("body", "facts"),
    [
        (
            {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
            ErrorFacts(type="overloaded_error", kind="overloaded_error", message="busy"),
        ),
        (
            {
                "type": "error",
                "error": {
                    "type": "rate_limit_error",
                    "message": "spent",
                    "details": {"error_code": "enforced_spend_limit_reached"},
                },
            },
            ErrorFacts(
                type="enforced_spend_limit_reached", kind="rate_limit_error", message="spent"
            ),
        ),
        (
            {"error": {"message": "pay", "type": "x", "code": "insufficient_quota"}},
            ErrorFacts(type="insufficient_quota", kind="x", message="pay"),
        ),
        (
            {"error": {"message": "bad", "type": "invalid_request_error", "code": None}},
            ErrorFacts(type="invalid_request_error", kind="invalid_request_error", message="bad"),
        ),
        (
            {"response": {"error": {"code": "server_is_overloaded", "message": "busy"}}},
            ErrorFacts(type="server_is_overloaded", message="busy"),
        ),
        ({"error": "plain"}, ErrorFacts(message="plain")),
        ({"detail": "not found"}, ErrorFacts(message="not found")),
        ([1], ErrorFacts()),
    ],
)
@pytest.mark.parametrize("name", DIALECTS)
def test_reading_errors(name: str, body: Any, facts: ErrorFacts) -> None:
    """The most telling name of an error and its message, from every shape in use."""
    assert DIALECTS[name].read_error(json.dumps(body).encode()) == facts


@pytest.mark.parametrize("name", DIALECTS)
@given(body=st.binary())
def test_nothing_of_an_upstream_raises(name: str, body: bytes) -> None:
    """Whatever an upstream sends, reading it gives facts and marks."""
    dialect = DIALECTS[name]
    dialect.read_error(body)
    dialect.stream_error(b"data: " + body)
    dialect.mark(body)
