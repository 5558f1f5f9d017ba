"""What an upstream's answer says, in each dialect, streamed and whole."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from answers import CUT, EMPTY, MIXED, STOPPED, TEXT, USAGE, answers
from asked import PATCH, READ, in_one_spelling
from dialect_sdk import context
from dialect_sdk import stream_bytes as encoded
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.core.answer import (
    AnswerEvent,
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    Usage,
)
from fallback.core.conversation import Conversation, Text, Turn
from fallback.dialects import DIALECTS
from fallback.dialects.blocks import CallBlock, TextBlock, whole_blocks
from fallback.dialects.sse import format_event, split_events

ANTHROPIC, CHAT, RESPONSES = "anthropic", "openai-chat", "openai-responses"
ASKED = Conversation(model="m", turns=(Turn("user", (Text("hi"),)),), tools=(READ, PATCH))
REFUSED: list[AnswerEvent] = [
    Started(input_tokens=7),
    TextDelta("I would rather not."),
    Finished(reason="refusal", usage=USAGE),
]


def stream_bytes(name: str, events: list[AnswerEvent]) -> bytes:
    """The stream, with the usage that `encode_request` asks for."""
    return encoded(name, events, {"stream_options": {"include_usage": True}})


def streamed(name: str, stream: bytes) -> list[AnswerEvent]:
    reader = DIALECTS[name].answer_reader(ASKED)
    events, rest = split_events(stream)
    assert rest == b""
    return [found for event in events for found in reader.feed(event)]


def read(name: str, *data: Any) -> list[AnswerEvent]:
    """What a stream of these objects says."""
    return streamed(name, b"".join(format_event(json.dumps(value).encode()) for value in data))


def said(events: list[AnswerEvent]) -> Any:
    """An answer as blocks and its end, without ids, which encoders make themselves."""
    blocks, finished = whole_blocks(events)
    return [
        (block.call.name, block.call.kind, in_one_spelling(block.arguments))
        if isinstance(block, CallBlock)
        else block.text
        for block in blocks
    ], finished


def is_true(events: list[AnswerEvent]) -> bool:
    """Whether the reason of the end fits what was said."""
    called = any(isinstance(event, ToolCallStarted) for event in events)
    last = events[-1]
    assert isinstance(last, Finished)
    return last.reason != ("end" if called else "tool_calls")


def assert_in_order(events: list[AnswerEvent]) -> None:
    """The order that `fallback.core.answer` promises."""
    kinds = [type(event) for event in events]
    assert kinds.count(Started) == kinds.count(Finished) == 1
    assert (kinds[0], kinds[-1]) == (Started, Finished)
    open_ = False
    for kind in kinds:
        assert open_ is (kind in (ToolCallDelta, ToolCallEnded))
        open_ = kind in (ToolCallStarted, ToolCallDelta)


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=80, deadline=None)
@given(events=answers())
def test_our_own_answers_are_read_back(name: str, events: list[AnswerEvent]) -> None:
    """What an encoder writes, the reader of the same dialect understands, streamed and whole."""
    if not is_true(events):
        return
    from_stream = streamed(name, stream_bytes(name, events))
    from_whole = DIALECTS[name].read_whole(DIALECTS[name].encode_whole(context(), events), ASKED)
    assert_in_order(from_stream)
    assert_in_order(from_whole)
    assert said(from_stream) == said_in(name, events)
    assert said(from_whole) == said_whole(name, events)


def said_in(name: str, events: list[AnswerEvent]) -> Any:
    """What is left of an answer in a dialect's stream: Chat and Responses have no word for the
    sequence that stopped the model, and in a Chat texts without a call between them are one."""
    blocks, finished = said(events)
    if name != ANTHROPIC and finished.reason == "stop_sequence":
        finished = msgspec.structs.replace(finished, reason="end", stop_sequence=None)
        calls = any(isinstance(block, tuple) for block in blocks)
        finished = msgspec.structs.replace(finished, reason="tool_calls" if calls else "end")
    return blocks, finished


def said_whole(name: str, events: list[AnswerEvent]) -> Any:
    """A whole Chat has its text first, in one."""
    blocks, finished = said_in(name, events)
    if name != CHAT:
        return blocks, finished
    text = "".join(block for block in blocks if isinstance(block, str))
    calls = [block for block in blocks if not isinstance(block, str)]
    return ([text] if text else []) + calls, finished


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("events", [TEXT, EMPTY, MIXED, CUT, STOPPED, REFUSED])
def test_an_answer_ends_for_its_reason(name: str, events: list[AnswerEvent]) -> None:
    """Stopped, cut off and refused answers are told apart, as far as the dialect can."""
    assert said(streamed(name, stream_bytes(name, events))) == said_in(name, events)


@pytest.mark.parametrize("name", DIALECTS)
@given(event=st.binary())
def test_no_event_breaks_a_reader(name: str, event: bytes) -> None:
    """Whatever an upstream sends is read, or nothing."""
    reader = DIALECTS[name].answer_reader(ASKED)
    reader.feed(event)
    reader.feed(b"data: " + event)
    reader.feed(b'event: content_block_start\ndata: {"index": [1], "item": 1}\n\n')


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"error": {"message": "no"}}'])
def test_what_is_no_answer_is_refused(name: str, body: bytes) -> None:
    """A body without an answer in it is not an empty answer."""
    with pytest.raises(ValueError, match=r"answer|JSON|malformed|truncated"):
        DIALECTS[name].read_whole(body, ASKED)


@pytest.mark.parametrize("name", DIALECTS)
def test_nothing_follows_the_end(name: str) -> None:
    """Events behind the terminal one are not heard."""
    stream = stream_bytes(name, TEXT)
    assert streamed(name, stream + stream) == streamed(name, stream)


def test_anthropic_usage_counts_what_was_cached() -> None:
    """All input tokens are counted, those of the cache too, and a null takes nothing back."""
    usage = {"input_tokens": 3, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 100}
    events = read(
        ANTHROPIC,
        {"type": "message_start", "message": {"usage": {**usage, "output_tokens": 1}}},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn"},
            "usage": {"input_tokens": None, "output_tokens": 9},
        },
        {"type": "message_stop"},
    )
    usage_read = Usage(input_tokens=123, output_tokens=9, cached_tokens=20)
    assert events == [Started(input_tokens=123), Finished(reason="end", usage=usage_read)]


def test_reasoning_of_each_server_is_thinking() -> None:
    """Reasoning is told apart from the answer, however a server calls it."""
    thought = ThinkingDelta("hm")
    block = {"type": "content_block_delta", "delta": {"type": "thinking_delta", "thinking": "hm"}}
    assert read(ANTHROPIC, block)[1:] == [thought]
    for key in ("reasoning_content", "reasoning"):
        assert read(CHAT, chunk(**{key: "hm"}))[1:] == [thought]
    for kind in ("response.reasoning_summary_text.delta", "response.reasoning_text.delta"):
        assert read(RESPONSES, {"type": kind, "delta": "hm"})[1:] == [thought]


def chunk(finish_reason: str | None = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}


def piece(index: int, arguments: str = "", **more: str) -> dict[str, Any]:
    """A piece of a tool call; with a `name` and an `id` its first."""
    function = {"arguments": arguments, **({"name": more["name"]} if "name" in more else {})}
    return {"index": index, "function": function, **{k: more[k] for k in more if k == "id"}}


def calls_of(*pieces: dict[str, Any], reason: str = "tool_calls") -> Any:
    chunks = [chunk(tool_calls=[found]) for found in pieces]
    done = b"data: [DONE]\n\n"
    data = b"".join(format_event(json.dumps(value).encode()) for value in [*chunks, chunk(reason)])
    events = streamed(CHAT, data + done)
    assert_in_order(events)
    blocks, finished = said(events)
    return [(name, arguments) for name, _, arguments in blocks], finished.reason


def test_calls_written_side_by_side_are_told_one_by_one() -> None:
    """Pieces of two calls in turns become two whole calls."""
    pieces = [
        piece(0, '{"a"', name="read", id="1"),
        piece(1, '{"b"', name="list", id="2"),
        piece(0, ": 1}"),
        piece(1, ": 2}"),
    ]
    assert calls_of(*pieces) == ([("read", '{"a": 1}'), ("list", '{"b": 2}')], "tool_calls")


def test_a_call_streams_once_the_one_before_is_whole() -> None:
    """Nobody waits for the end of the answer to hear of the second call."""
    reader = DIALECTS[CHAT].answer_reader(ASKED)
    pieces = [piece(0, '{"a": 1}', name="read", id="1"), piece(1, '{"b"', name="list", id="2")]
    first, second = (
        reader.feed(format_event(json.dumps(chunk(tool_calls=[found])).encode()))
        for found in pieces
    )
    assert first[1:] == [ToolCallStarted(id="1", name="read"), ToolCallDelta('{"a": 1}')]
    assert second == [
        ToolCallEnded(),
        ToolCallStarted(id="2", name="list"),
        ToolCallDelta('{"b"'),
    ]


def test_calls_that_all_have_the_number_0_are_told_apart() -> None:
    """Some servers number every call 0; the id then says that another one begins."""
    pieces = [piece(0, "{}", name="read", id="1"), piece(0, "{}", name="read", id="2")]
    assert calls_of(*pieces) == ([("read", "{}"), ("read", "{}")], "tool_calls")


def test_a_call_without_arguments_takes_an_empty_object() -> None:
    """A complete call has JSON arguments, one that was cut off has what came of it."""
    begun = piece(0, name="read", id="1")
    assert calls_of(begun) == ([("read", "{}")], "tool_calls")
    assert calls_of(begun, reason="length") == ([("read", "")], "max_tokens")


def test_an_end_with_calls_is_one_for_calls() -> None:
    """Servers that call it a plain end would leave the client waiting for no reason."""
    assert calls_of(piece(0, "{}", name="read", id="1"), reason="stop")[1] == "tool_calls"


@pytest.mark.parametrize("name", [ANTHROPIC, CHAT])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_a_custom_tools_text_is_unwrapped(name: str, size: int) -> None:
    """The function that stood for a custom tool is a custom tool's call again."""
    text = '*** Begin\n"quoted" \\ \u00e9\U0001f600'
    arguments = json.dumps({"input": text})
    events: list[AnswerEvent] = [
        Started(input_tokens=1),
        ToolCallStarted(id="1", name="patch"),
        *(ToolCallDelta(arguments[i : i + size]) for i in range(0, len(arguments), size)),
        ToolCallEnded(),
        Finished(reason="tool_calls", usage=USAGE),
    ]
    assert said(streamed(name, stream_bytes(name, events)))[0] == [("patch", "custom", text)]
    whole = DIALECTS[name].encode_whole(context(), events)
    assert said(DIALECTS[name].read_whole(whole, ASKED))[0] == [("patch", "custom", text)]


def test_a_custom_tool_called_wrongly_keeps_what_was_written() -> None:
    """Arguments of another form come through as they are, for the client's tool to judge."""
    events: list[AnswerEvent] = [
        Started(input_tokens=1),
        ToolCallStarted(id="1", name="patch"),
        ToolCallDelta('{"patch": "x"}'),
        ToolCallEnded(),
        Finished(reason="tool_calls", usage=USAGE),
    ]
    blocks, _ = said(streamed(CHAT, stream_bytes(CHAT, events)))
    assert blocks == [("patch", "custom", '{"patch": "x"}')]


def test_responses_items_that_come_whole_are_read() -> None:
    """A server may leave out the pieces of an item and send only its end."""
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hello"}]}
    call = {"type": "function_call", "call_id": "1", "name": "read", "arguments": '{"a":1}'}
    events = read(
        RESPONSES,
        {"type": "response.created", "response": {}},
        {"type": "response.output_item.done", "output_index": 0, "item": message},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {"type": "response.output_item.done", "output_index": 1, "item": call},
        {"type": "response.completed", "response": {"usage": {"output_tokens": 4}}},
    )
    blocks, finished = said(events)
    assert blocks == ["Hello", ("read", "function", '{"a": 1}')]
    assert (finished.reason, finished.usage.output_tokens) == ("tool_calls", 4)


def test_texts_of_refusals_are_kept() -> None:
    """What a model says instead of an answer reaches the client."""
    refusal = TextDelta("I would rather not.")
    assert read(CHAT, chunk(refusal=refusal.text))[1:] == [refusal]
    event = {"type": "response.refusal.delta", "delta": refusal.text}
    assert read(RESPONSES, event)[1:] == [refusal]


def test_blocks_of_the_future_are_left_out() -> None:
    """A block of a kind that nobody asked for says nothing, and the rest is read."""
    block = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {"q": "x"}}
    body = json.dumps({"content": [block, {"type": "text", "text": "Hello"}]}).encode()
    blocks, _ = whole_blocks(DIALECTS[ANTHROPIC].read_whole(body, ASKED))
    assert blocks == (TextBlock("Hello"),)
