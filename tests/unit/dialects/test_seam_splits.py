"""Any answer, cut behind any of its events, in every dialect."""

from __future__ import annotations

import json
from typing import Any

import pytest
from answers import finished, pieces
from dialect_sdk import context
from hypothesis import given, settings
from hypothesis import strategies as st
from seams import Finisher, events_of, seam_of, spliced

from fallback.core.answer import (
    AnswerEvent,
    Finished,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.json_scan import plain_escapes
from fallback.dialects import DIALECTS
from fallback.dialects.base import Seam, Unsplicable

_characters = st.characters(codec="utf-8")
_texts = st.text(_characters, max_size=20) | st.sampled_from(["a  b ", "\n\n", " <tool", "# x\n"])
_values = st.none() | st.integers() | _texts | st.lists(st.booleans(), max_size=2)
SCHEMA = {"type": "object"}
BODIES: dict[str, dict[str, Any]] = {
    "anthropic": {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"name": "read", "input_schema": SCHEMA}],
    },
    "openai-chat": {
        "messages": [{"role": "user", "content": "x"}],
        "tools": [{"type": "function", "function": {"name": "read", "parameters": SCHEMA}}],
    },
    "openai-responses": {
        "input": "x",
        "tools": [{"type": "function", "name": "read", "parameters": SCHEMA}],
    },
}


@st.composite
def streamed(draw: st.DrawFn) -> list[AnswerEvent]:
    """An answer of text and then calls, in small pieces."""
    indents = st.none() | st.just(1)
    cuts = st.lists(st.integers(0, 99), max_size=4)
    events: list[AnswerEvent] = [Started(input_tokens=7)]
    events += map(TextDelta, pieces(draw(_texts), draw(cuts)))
    for number in range(draw(st.integers(0, 2))):
        arguments = draw(st.dictionaries(_texts, _values, max_size=2))
        written = json.dumps(arguments, indent=draw(indents), ensure_ascii=False)
        written = plain_escapes(written)
        events.append(ToolCallStarted(id=str(number), name="read"))
        events += map(ToolCallDelta, pieces(written, draw(cuts)))
        events.append(ToolCallEnded())
    return [*events, finished("tool_calls" if len(events) > 1 else "end")]


def bytes_of(dialect: str, events: list[AnswerEvent]) -> list[bytes]:
    """The stream's events up to the one that says how it ended."""
    encoder = DIALECTS[dialect].stream_encoder(context(BODIES[dialect]))
    sent = [encoder.encode(event) for event in events if not isinstance(event, Finished)]
    return [part + b"\n\n" for chunk in sent for part in chunk.split(b"\n\n") if part]


def words(text: str) -> str:
    return "".join(text.split())


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=60, deadline=None)
@given(streamed(), st.data())
def test_any_answer_is_whole_again(
    dialect: str, events: list[AnswerEvent], data: st.DataObject
) -> None:
    """What the client has and the rest together say what the whole answer would have said."""
    chunks = bytes_of(dialect, events)
    sent = b"".join(chunks[: data.draw(st.integers(1, len(chunks)))])
    seam = DIALECTS[dialect].seam(sent)
    if isinstance(seam, Unsplicable):
        assert seam.reason == "blank-text"
        return
    whole = seam_of(dialect, b"".join(chunks)).said
    body = {"model": "m", "stream": True, **BODIES[dialect]}
    size = data.draw(st.integers(1, 9))
    joined, provenance = spliced(dialect, body, sent, Finisher(seam.said, whole, size))
    read = said_in(dialect, joined)
    assert words(read.text) == words(whole.text)
    assert read.text.startswith(seam.said.text)
    assert [json.loads(call.arguments) for call in read.calls] == [
        json.loads(call.arguments) for call in whole.calls
    ]
    assert provenance.segments[1].from_char == len(seam.said.text)


def said_in(dialect: str, joined: bytes) -> Any:
    """What a whole stream says, read by the seam of the stream without its end."""
    parts = [part + b"\n\n" for part in joined.split(b"\n\n") if part]
    while isinstance(seam := DIALECTS[dialect].seam(b"".join(parts)), Unsplicable):
        assert seam.reason == "finished"
        parts.pop()
    return seam.said


_leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
_anything = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)
_PROMPTS = ("[[say One two.]]", "[[call read]]", "[[think]] [[say Four.]]")


def asked(dialect: str, prompt: str) -> dict[str, Any]:
    turns = [{"role": "user", "content": prompt}]
    return {"model": "m", **BODIES[dialect], "messages": turns, "input": turns}


def places(value: Any) -> list[tuple[Any, Any]]:
    """Where something stands in a value: the object or array around it, and its key."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    inner = [value[key] for key in keys if isinstance(value[key], dict | list)]
    return [*((value, key) for key in keys), *(place for one in inner for place in places(one))]


@pytest.mark.parametrize("dialect", DIALECTS)
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(_PROMPTS), st.data())
def test_any_event_is_survived(dialect: str, prompt: str, data: st.DataObject) -> None:
    """Whatever stands in a stream instead of what should, there is a seam to go on from, or a
    reason why not."""
    events = list(events_of(dialect, asked(dialect, prompt)))[:-1]
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(events) - 1))
        head, _, data_line = events[at].partition(b"data: ")
        changed = json.loads(data_line)
        around, key = data.draw(st.sampled_from(places(changed)))
        around[key] = data.draw(_anything)
        events[at] = head + b"data: " + json.dumps(changed).encode() + b"\n\n"
    seam = DIALECTS[dialect].seam(b"".join(events[: data.draw(st.integers(1, len(events)))]))
    if isinstance(seam, Seam):
        encoder = seam.encoder(context(BODIES[dialect]))
        rest = [ToolCallDelta("}"), ToolCallEnded()] if seam.open_tool_call else [TextDelta("x")]
        written = map(encoder.encode, [Started(input_tokens=1), *rest, finished()])
        assert b"".join(written).startswith(b": fallback: ")
