"""Conversations to send: a strategy for any that a client may send, and how to compare two."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from hypothesis import strategies as st

from fallback.core.conversation import (
    Attachment,
    Conversation,
    OutputFormat,
    Part,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)

CLOSED_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"name": {"type": "string", "description": "who"}},
    "required": ["name"],
    "additionalProperties": False,
}
READ = Tool(name="read", description="Reads a file.", parameters=CLOSED_SCHEMA)
LIST = Tool(name="list", parameters={"type": "object", "properties": {"n": {"type": "integer"}}})
PATCH = Tool(name="patch", kind="custom", grammar_syntax="lark", grammar='start: "x"')
_CHARACTERS = st.characters(codec="utf-8")
_texts = st.text(_CHARACTERS, min_size=1, max_size=12).filter(lambda text: not text.isspace())
_arguments = st.dictionaries(st.text(_CHARACTERS, max_size=5), st.integers() | _texts, max_size=2)
_attachments = st.builds(
    Attachment, kind=st.sampled_from(["image", "file"]), name=st.none() | st.just("a.png")
)


@st.composite
def _exchanges(draw: st.DrawFn, number: int) -> list[Turn]:
    """The user asks, the assistant answers, perhaps with calls, whose results come."""
    spoken = draw(st.lists(_texts.map(Text) | _attachments, min_size=1, max_size=2))
    turns = [Turn("user", tuple(spoken))]
    if draw(st.booleans()):
        turns.append(Turn("system", (Text(draw(_texts)),)))
    said: list[Part] = [Thinking(draw(_texts))] if draw(st.booleans()) else []
    said += [Text(draw(_texts))] if draw(st.booleans()) else []
    calls = [draw(_calls(f"call_{number}_{i}")) for i in range(draw(st.integers(0, 2)))]
    if said or calls:
        turns.append(Turn("assistant", (*said, *calls)))
    results = [ToolResult(call_id=call.id, text=draw(_texts)) for call in calls]
    return [*turns, Turn("user", tuple(results))] if results else turns


@st.composite
def _calls(draw: st.DrawFn, id_: str) -> ToolCall:
    if draw(st.booleans()):
        return ToolCall(id=id_, name="patch", arguments=draw(_texts))
    text = json.dumps(draw(_arguments), ensure_ascii=False, separators=(",", ":"))
    return ToolCall(id=id_, name=draw(st.sampled_from(["read", "list"])), arguments=text)


_choices = st.builds(
    ToolChoice, mode=st.sampled_from(["auto", "none", "required"]), parallel=st.booleans()
) | st.just(ToolChoice(mode="named", name="patch"))
_samplings = st.builds(
    Sampling,
    temperature=st.none() | st.floats(0, 1),
    top_p=st.none() | st.floats(0, 1),
    top_k=st.none() | st.integers(1, 99),
    presence_penalty=st.none() | st.floats(-2, 2),
    frequency_penalty=st.none() | st.floats(-2, 2),
    seed=st.none() | st.integers(0, 99),
    max_tokens=st.integers(1, 9999),
    stop=st.lists(_texts, max_size=2).map(tuple),
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """Any well-formed conversation that a client's request may hold."""
    exchanges = [draw(_exchanges(number)) for number in range(draw(st.integers(1, 3)))]
    return Conversation(
        model="m",
        system=draw(st.just("") | _texts),
        turns=tuple(turn for exchange in exchanges for turn in exchange),
        tools=(READ, LIST, PATCH),
        tool_choice=draw(_choices),
        output_format=draw(
            st.none() | st.just(OutputFormat(kind="json_schema", schema=CLOSED_SCHEMA))
        ),
        sampling=draw(_samplings),
        stream=draw(st.booleans()),
    )


def spoken(turns: Iterable[Turn]) -> list[tuple[str, Part]]:
    """Who said what, in order, whatever turns it is grouped into: reasoning left out, notes in
    the place of attachments, arguments in one spelling."""
    return [(turn.role, said) for turn in turns for part in turn.parts if (said := _said(part))]


def _said(part: Part) -> Part | None:
    match part:
        case Thinking():
            return None
        case Attachment():
            return Text(part.note())
        case ToolCall(id=id_, name=name, arguments=arguments):
            return ToolCall(id=id_, name=name, arguments=in_one_spelling(arguments))
        case _:
            return part


def in_one_spelling(arguments: str) -> str:
    """JSON as JSON is meant, other text as it is."""
    try:
        return json.dumps(json.loads(arguments), sort_keys=True)
    except ValueError:
        return arguments
