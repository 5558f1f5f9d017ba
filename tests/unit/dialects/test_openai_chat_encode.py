"""What the official SDK reads from an answer in the `openai-chat` dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import (
    CUT,
    EMPTY,
    MIXED,
    STARTED,
    STOPPED,
    STRUCTURED,
    TEXT,
    answers,
    call,
    finished,
    visible_text,
)
from dialect_sdk import OPENAI, USER, context, serve, serve_json, stream_bytes
from hypothesis import given, settings
from openai import APIError
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from fallback.core.answer import AnswerEvent, ToolCallDelta, ToolCallEnded, ToolCallStarted
from fallback.dialects import DIALECTS

DIALECT = DIALECTS["openai-chat"]
WITH_USAGE = {"stream_options": {"include_usage": True}}
LEGACY = {"functions": [{"name": "read"}]}


def chunks(
    events: list[AnswerEvent], request: dict[str, Any] | None = None
) -> list[dict[str, Any]]:
    lines = stream_bytes("openai-chat", events, request).splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]


def streamed(events: list[AnswerEvent], request: dict[str, Any] | None = None) -> ChatCompletion:
    serve(stream_bytes("openai-chat", events, request))
    with OPENAI.chat.completions.stream(model="gpt", messages=USER) as stream:
        stream.until_done()
        # `get_final_completion` raises on any answer that the token limit cut.
        return stream.current_completion_snapshot


def whole(events: list[AnswerEvent], request: dict[str, Any] | None = None) -> ChatCompletion:
    serve_json(DIALECT.encode_whole(context(request), events))
    completion = OPENAI.chat.completions.create(model="gpt", messages=USER)
    assert isinstance(completion, ChatCompletion)
    return completion


def said(completion: ChatCompletion) -> dict[str, Any]:
    """What the answer says, whichever way it came."""
    message = completion.choices[0].message
    calls = [call.to_dict() for call in message.tool_calls or []]
    return {
        "text": message.content or "",
        "calls": [
            (call["id"], call["function"]["name"], call["function"]["arguments"])  # type: ignore[index]
            for call in calls
        ],
        "reason": completion.choices[0].finish_reason,
        "id": completion.id,
        "model": completion.model,
        "provenance": completion.to_dict()["provenance"],
    }


def test_text_arrives_with_provenance() -> None:
    """A text answer is one choice with its text, and the provenance survives accumulation."""
    assert said(streamed(TEXT)) == {
        "text": "Hello",
        "calls": [],
        "reason": "stop",
        "id": "chatcmpl-t0k3n",
        "model": "smollm2",
        "provenance": {"tier": "local", "reason": "outage"},
    }


def test_calls_follow_the_text() -> None:
    """Text and two calls are one message with content and two tool calls."""
    answer = said(streamed(MIXED))
    assert answer["text"] == "Let me look."
    assert answer["reason"] == "tool_calls"
    assert answer["calls"] == [
        ("call_t0k3n_0", "read", '{"path": "a"}'),
        ("call_t0k3n_1", "list", "{}"),
    ]


def test_usage_comes_only_if_asked_for() -> None:
    """The chunk with usage and without choices breaks clients that did not ask for it."""
    assert all(chunk["choices"] for chunk in chunks(TEXT))
    last = chunks(TEXT, WITH_USAGE)[-1]
    assert last["choices"] == []
    assert last["usage"]["total_tokens"] == 10
    usage = streamed(TEXT, WITH_USAGE).usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.prompt_tokens_details.cached_tokens == 2


def test_the_stream_is_framed_by_role_and_done() -> None:
    """The first chunk gives the role, the last the reason, and then comes `[DONE]`."""
    assert chunks(TEXT)[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks(TEXT)][-2:] == [None, "stop"]
    assert [i for i, chunk in enumerate(chunks(TEXT)) if "provenance" in chunk] == [0, 6]
    assert stream_bytes("openai-chat", TEXT).endswith(b"data: [DONE]\n\n")


def test_structured_output_parses() -> None:
    """The SDK's own parsing of structured output accepts the text."""

    class Person(BaseModel):
        name: str
        age: int

    serve(stream_bytes("openai-chat", STRUCTURED))
    with OPENAI.chat.completions.stream(
        model="gpt", messages=USER, response_format=Person
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert message.parsed == Person(name="Ada", age=36)


@pytest.mark.parametrize(
    ("events", "reason"), [(CUT, "length"), (STOPPED, "stop"), (EMPTY, "stop")]
)
def test_finish_reasons(events: list[AnswerEvent], reason: str) -> None:
    """The finish reason is the protocol's word, streamed or not."""
    assert said(streamed(events))["reason"] == reason
    assert said(whole(events))["reason"] == reason


def test_a_call_without_text_has_null_content() -> None:
    """A whole answer that only calls has no content, one that says nothing has empty content."""
    calling = [STARTED, *call("1", "read", "{}"), finished("tool_calls")]
    assert whole(calling).choices[0].message.content is None
    assert whole(EMPTY).choices[0].message.content == ""


def test_a_custom_tool_gets_its_text_as_input() -> None:
    """A custom tool's call has `custom.input` where a function's has `function.arguments`."""
    events: list[AnswerEvent] = [
        STARTED,
        ToolCallStarted(id="1", name="patch", kind="custom"),
        ToolCallDelta("*** Begin"),
        ToolCallDelta(" Patch"),
        ToolCallEnded(),
        finished("tool_calls"),
    ]
    calls = whole(events).choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].to_dict()["custom"] == {"name": "patch", "input": "*** Begin Patch"}
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks(events)]
    inputs = [d["tool_calls"][0]["custom"]["input"] for d in deltas if "tool_calls" in d]
    assert "".join(inputs) == "*** Begin Patch"


def test_a_client_of_functions_gets_a_function_call() -> None:
    """A client from before `tools` is answered in the words it knows."""
    events = [STARTED, *call("1", "read", '{"a":', "1}"), finished("tool_calls")]
    for completion in (streamed(events, LEGACY), whole(events, LEGACY)):
        choice = completion.choices[0]
        assert choice.finish_reason == "function_call"
        assert choice.message.function_call is not None
        assert choice.message.function_call.to_dict() == {"name": "read", "arguments": '{"a":1}'}


def test_a_break_in_mid_stream_raises_in_the_client() -> None:
    """An error chunk after content is an error to the SDK, never a short answer."""
    encoder = DIALECT.stream_encoder(context())
    begun = b"".join(map(encoder.encode, TEXT[:2]))
    serve(begun + encoder.error("the model died", code="local_engine_failed"))
    with (
        pytest.raises(APIError, match="the model died"),
        OPENAI.chat.completions.stream(model="gpt", messages=USER) as stream,
    ):
        stream.get_final_completion()


@settings(max_examples=25, deadline=None)
@given(answers())
def test_stream_and_whole_say_the_same(events: list[AnswerEvent]) -> None:
    """Whatever the answer, the SDK accumulates from the stream what the whole body says."""
    answer = said(streamed(events))
    assert answer == said(whole(events))
    assert "".join(answer["text"].split()) == visible_text(events)
