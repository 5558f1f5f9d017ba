"""What every format promises: its grammar admits what it writes, and its reader reads it."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Sequence

import llguidance
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fallback.core.answer import (
    AnswerEvent,
    PartialAnswer,
    SaidCall,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.conversation import Conversation, Text, Tool, ToolCall, ToolChoice, ToolResult
from fallback.core.tool_formats import FORMATS, Offer, ToolFormat, detect, format_for, input_form

TOKENIZER = llguidance.LLTokenizer("byte")
RUN = Tool(name="run", description="Runs it.", parameters={"type": "object"})
LOOK = Tool(name="look-at", description="Looks.", parameters={"type": "object"})
PATCH = Tool(name="patch", kind="custom")
EDIT = Tool(name="edit", kind="custom", grammar_syntax="regex", grammar="[a-z ]*")
TOOLS = (RUN, LOOK, PATCH)
INPUTS = {
    "object": '%json {"type": "object", "x-guidance": {"whitespace_flexible": false}}',
    "string": '%json {"type": "string"}',
    "raw": "/[a-z ]*/",
}
formats = st.sampled_from(sorted(FORMATS))
objects = st.dictionaries(st.text("abc", max_size=2), st.text(max_size=6), max_size=2)
words = st.text("abc <>[]{}|\n.é", max_size=12)
calls = st.one_of(
    st.tuples(st.sampled_from(["run", "look-at"]), objects.map(lambda value: compact(value))),
    st.tuples(st.just("patch"), st.text(max_size=12)),
)


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def talk(form: ToolFormat) -> Conversation:
    tools = (*TOOLS, EDIT) if form.takes((EDIT,)) else TOOLS
    return Conversation(model="m", tools=tools)


def offers_of(form: ToolFormat) -> tuple[Offer, ...]:
    return tuple(Offer(tool=tool, input=f"input_{i}") for i, tool in enumerate(talk(form).tools))


def matcher(form: ToolFormat, rules: Iterable[str]) -> llguidance.LLMatcher:
    inputs = [f"{o.input}: {INPUTS[input_form(o.tool)]}" for o in offers_of(form)]
    begun = [f"begun: {INPUTS['object']}", f"begun_text: {INPUTS['string']}"]
    lark = "\n".join([*rules, *inputs, *begun, ""])
    made = llguidance.LLMatcher(TOKENIZER, lark, log_level=0)
    assert not made.is_error(), f"{made.get_error()}\n{lark}"
    return made


def admits(form: ToolFormat, rules: Iterable[str], text: str) -> bool:
    made = matcher(form, rules)
    tokens = TOKENIZER.tokenize_str(text)
    return made.validate_tokens(tokens) == len(tokens) and (
        made.consume_tokens(tokens) and made.is_accepting()
    )


def begins(form: ToolFormat, rules: Iterable[str], text: str) -> bool:
    tokens = TOKENIZER.tokenize_str(text)
    return matcher(form, rules).validate_tokens(tokens) == len(tokens)


def read(
    form: ToolFormat, text: str, *, size: int = 1, said: PartialAnswer | None = None
) -> tuple[list[AnswerEvent], StopReason]:
    """The events of the text in pieces of `size`, deltas of one kind in a row as one."""
    reader = form.reader(talk(form), str)
    if said is not None:
        reader.resume(said)
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    events = [event for piece in pieces for event in reader.feed(piece)]
    last, reason = reader.finish("end")
    return list(_joined([*events, *last])), reason


def _joined(events: Sequence[AnswerEvent]) -> Iterator[AnswerEvent]:
    before: AnswerEvent | None = None
    for event in events:
        if isinstance(event, TextDelta | ThinkingDelta) and type(before) is type(event):
            before = type(event)(before.text + event.text)
        elif isinstance(event, ToolCallDelta) and isinstance(before, ToolCallDelta):
            before = ToolCallDelta(before.arguments + event.arguments)
        else:
            if before is not None:
                yield before
            before = event
    if before is not None:
        yield before


def called(number: int, name: str, arguments: str) -> list[AnswerEvent]:
    kind = "function" if name in ("run", "look-at") else "custom"
    started = ToolCallStarted(id=str(number), name=name, kind=kind)
    return [started, *map(ToolCallDelta, filter(None, [arguments])), ToolCallEnded()]


def whole(name: str, arguments: str) -> SaidCall:
    kind = "function" if name in ("run", "look-at") else "custom"
    return SaidCall(name=name, kind=kind, arguments=arguments, whole=True)


def written(form: ToolFormat, *parts: Text | SaidCall) -> str:
    """The answer that consists of these parts, as the model would write it to its end."""
    text = form.partial_text(PartialAnswer(parts), talk(form))[0]
    return text + ("]" if form.name == "mistral" and isinstance(parts[-1], SaidCall) else "")


# -- the grammar and the reader ------------------------------------------------------------------


@given(formats, words, st.lists(calls, min_size=1, max_size=3), st.integers(1, 9))
def test_what_is_written_is_admitted_and_read(
    name: str, text: str, made: list[tuple[str, str]], size: int
) -> None:
    """Text and calls, written by the format, are an answer by its grammar, and read back."""
    form = FORMATS[name]
    text, made = text.strip(), made if form.several else made[:1]
    assume(form.name != "llama3" or not text)
    parts = [*map(Text, filter(None, [text])), *(whole(*call) for call in made)]
    answer = written(form, *parts).removesuffix("<|call|>")
    rules = form.rules(offers_of(form), must=False, parallel=True)
    assert admits(form, rules, answer)
    events, reason = read(form, answer, size=size)
    expected = [called(n, *call) for n, call in enumerate(made)]
    assert events == [*map(TextDelta, filter(None, [text])), *sum(expected, [])]
    assert reason == "tool_calls"


@given(formats, words, st.integers(1, 9))
def test_text_alone_is_an_answer(name: str, text: str, size: int) -> None:
    """Without a call, all that the model says is text."""
    form = FORMATS[name]
    head = form.output_head
    assert admits(form, form.rules(offers_of(form), must=False, parallel=True), head + text)
    assert read(form, head + text, size=size) == ([*map(TextDelta, filter(None, [text]))], "end")
