"""What the official SDKs read where the operator wants reasoning shown."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
from answers import MIXED, STARTED, TEXT, answers, finished
from anthropic.types import Message
from dialect_sdk import ANTHROPIC, OPENAI, USER, context, serve, serve_json
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from fallback.core.answer import AnswerEvent, TextDelta, ThinkingDelta
from fallback.dialects import DIALECTS

AGAIN: list[AnswerEvent] = [
    STARTED,
    ThinkingDelta("one"),
    ThinkingDelta(" two"),
    TextDelta("So."),
    ThinkingDelta("three"),
    finished(),
]


def streamed(name: str, events: list[AnswerEvent]) -> list[tuple[str, str]]:
    encoder = DIALECTS[name].stream_encoder(shown())
    serve(b"".join(map(encoder.encode, events)))
    return READ[name](stream=True)


def whole(name: str, events: list[AnswerEvent]) -> list[tuple[str, str]]:
    serve_json(DIALECTS[name].encode_whole(shown(), events))
    return READ[name](stream=False)


def shown() -> Any:
    return msgspec.structs.replace(context(), thinking=True)


def anthropic_content(*, stream: bool) -> list[tuple[str, str]]:
    """Types and texts of the content blocks."""
    asked: dict[str, Any] = {"model": "claude", "max_tokens": 9, "messages": USER}
    if stream:
        with ANTHROPIC.messages.stream(**asked) as events:
            message = events.get_final_message()
    else:
        message = ANTHROPIC.messages.create(**asked)
        assert isinstance(message, Message)
    blocks = [block.to_dict() for block in message.content]
    return [(str(b["type"]), str(b.get("thinking") or b.get("text") or "")) for b in blocks]


def chat_content(*, stream: bool) -> list[tuple[str, str]]:
    """The reasoning, the text and the calls of the message."""
    asked: dict[str, Any] = {"model": "gpt", "messages": USER}
    if stream:
        chunks = OPENAI.chat.completions.create(**asked, stream=True)
        said = [choice.delta.to_dict() for chunk in chunks for choice in chunk.choices]
    else:
        completion = OPENAI.chat.completions.create(**asked)
        assert isinstance(completion, ChatCompletion)
        said = [completion.choices[0].message.to_dict()]
    keys = {"reasoning_content": "thinking", "content": "text"}
    texts = {kind: "".join(str(part.get(key) or "") for part in said) for key, kind in keys.items()}
    calls = [call for part in said for call in cast(Any, part.get("tool_calls") or [])]
    begun = [("tool_use", "") for call in calls if "id" in call]
    return [*((kind, text) for kind, text in texts.items() if text), *begun]


def responses_content(*, stream: bool) -> list[tuple[str, str]]:
    """Types and texts of the output items."""
    if stream:
        with OPENAI.responses.stream(model="gpt", input="hi") as events:
            *_, last = events
        assert last.type in ("response.completed", "response.incomplete")
        response: Response = last.response
    else:
        response = OPENAI.responses.create(model="gpt", input="hi")
        assert isinstance(response, Response)
    return [_item(item.to_dict()) for item in response.output]


def _item(item: dict[str, Any]) -> tuple[str, str]:
    if item["type"] == "reasoning":
        return "thinking", "".join(part["text"] for part in item["summary"])
    if item["type"] == "message":
        return "text", "".join(part["text"] for part in item["content"])
    return "tool_use", ""


READ = {
    "anthropic": anthropic_content,
    "openai-chat": chat_content,
    "openai-responses": responses_content,
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("way", [streamed, whole])
def test_reasoning_comes_in_the_dialects_own_form(name: str, way: Any) -> None:
    """Reasoning is read as such, before the text and the calls, and nothing else changes."""
    assert way(name, MIXED) == [
        ("thinking", "what now"),
        ("text", "Let me look."),
        ("tool_use", ""),
        ("tool_use", ""),
    ]
    assert way(name, TEXT) == [("text", "Hello")]


@pytest.mark.parametrize("name", ["anthropic", "openai-responses"])
@pytest.mark.parametrize("way", [streamed, whole])
def test_every_run_of_reasoning_is_a_block(name: str, way: Any) -> None:
    """Reasoning and text may take turns; a run in several pieces is one block."""
    expected = [("thinking", "one two"), ("text", "So."), ("thinking", "three")]
    assert way(name, AGAIN) == expected


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize("way", [streamed, whole])
def test_reasoning_can_be_all_there_is(name: str, way: Any) -> None:
    """An answer that was cut off while it reasoned is a valid one."""
    assert way(name, [STARTED, ThinkingDelta("hm"), finished("max_tokens")]) == [("thinking", "hm")]


@pytest.mark.parametrize("name", READ)
def test_an_unsigned_block_says_so(name: str) -> None:
    """Where a signature has its place it is there, and empty: nobody but the cloud can sign."""
    encoder = DIALECTS[name].stream_encoder(shown())
    sent = b"".join(map(encoder.encode, MIXED))
    assert (b'"signature_delta","signature":""' in sent) == (name == "anthropic")


@settings(max_examples=30)
@given(st.sampled_from(sorted(READ)), answers())
def test_any_answer_is_accepted(name: str, events: list[AnswerEvent]) -> None:
    """Stream and body of any answer pass the SDK's types and hold all its reasoning."""
    thoughts = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    for way in (streamed, whole):
        read = way(name, events)
        assert "".join(text for kind, text in read if kind == "thinking") == thoughts
