"""What every format promises: its grammar admits what it writes, and its reader reads it."""

from __future__ import annotations

import functools
import json
import random
from collections.abc import Iterable, Iterator, Sequence

import llguidance
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fallback.core.answer import (
    AnswerEvent,
    CallKind,
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


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


formats = st.sampled_from(sorted(FORMATS))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12)
objects = st.dictionaries(st.text("abc", max_size=2), texts, max_size=2)
words = st.text("abc <>[]{}|\n.é", max_size=12)
calls = st.one_of(
    st.tuples(st.sampled_from(["run", "look-at"]), objects.map(compact)),
    st.tuples(
        st.just("patch"),
        st.text(st.characters(codec="utf-8", exclude_characters="\x7f"), max_size=12),
    ),
)


def talk(form: ToolFormat) -> Conversation:
    tools = (*TOOLS, EDIT) if form.takes((EDIT,)) else TOOLS
    return Conversation(model="m", tools=tools)


def offers_of(form: ToolFormat) -> tuple[Offer, ...]:
    return tuple(Offer(tool=tool, input=f"input_{i}") for i, tool in enumerate(talk(form).tools))


def matcher(form: ToolFormat, rules: Iterable[str]) -> llguidance.LLMatcher:
    inputs = [f"{o.input}: {INPUTS[input_form(o.tool)]}" for o in offers_of(form)]
    begun = [f"begun: {INPUTS['object']}", f"begun_text: {INPUTS['string']}"]
    return compiled("\n".join([*rules, *inputs, *begun, ""])).deep_copy()


@functools.cache
def compiled(lark: str) -> llguidance.LLMatcher:
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


def kind_of(name: str) -> CallKind:
    return "function" if name in ("run", "look-at") else "custom"


def called(number: int, name: str, arguments: str) -> list[AnswerEvent]:
    started = ToolCallStarted(id=str(number), name=name, kind=kind_of(name))
    return [started, *map(ToolCallDelta, filter(None, [arguments])), ToolCallEnded()]


def whole(name: str, arguments: str) -> SaidCall:
    return SaidCall(name=name, kind=kind_of(name), arguments=arguments, whole=True)


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
    parts: list[Text | SaidCall] = [
        *map(Text, filter(None, [text])),
        *(whole(*call) for call in made),
    ]
    answer = written(form, *parts).removesuffix("<|call|>")
    rules = form.rules(offers_of(form), must=False, parallel=True)
    assert admits(form, rules, answer)
    events, reason = read(form, answer, size=size)
    expected = [event for n, call in enumerate(made) for event in called(n, *call)]
    assert events == [*map(TextDelta, filter(None, [text])), *expected]
    assert reason == "tool_calls"


@given(formats, words, st.integers(1, 9))
def test_text_alone_is_an_answer(name: str, text: str, size: int) -> None:
    """Without a call, all that the model says is text."""
    form = FORMATS[name]
    head = form.output_head
    assert admits(form, form.rules(offers_of(form), must=False, parallel=True), head + text)
    assert read(form, head + text, size=size) == ([*map(TextDelta, filter(None, [text]))], "end")


def _thought(form: ToolFormat, thought: str) -> str:
    if form.name == "harmony":
        return f"<|channel|>analysis<|message|>{thought}<|end|><|start|>assistant"
    return f"<think>{thought}</think>"


@given(formats, words, calls, st.integers(1, 9))
def test_thinking_comes_first(name: str, thought: str, made: tuple[str, str], size: int) -> None:
    """Reasoning before the answer is told apart, also where it speaks of calls."""
    form = FORMATS[name]
    thought = f"{form.evidence('run')[0]} {thought}"
    assume("<|" not in thought or form.name != "harmony")
    call = written(form, whole(*made)).removesuffix("<|call|>")
    for said, events in ((call, called(0, *made)), (form.output_head + "So.", [TextDelta("So.")])):
        answer = _thought(form, thought) + said
        assert admits(form, form.rules(offers_of(form), must=False, parallel=True), answer)
        assert read(form, answer, size=size)[0] == [ThinkingDelta(thought), *events]


@given(formats, calls, st.data())
def test_an_answer_goes_on_from_any_place(
    name: str, made: tuple[str, str], data: st.DataObject
) -> None:
    """Wherever a call broke off, the rest is admitted and read to the call's end."""
    form, (tool, arguments) = FORMATS[name], made
    cut = data.draw(st.integers(0, len(arguments)))
    call = whole(*made)
    is_text = call.kind == "custom"
    said = PartialAnswer(
        (SaidCall(name=tool, kind=call.kind, arguments=arguments[:cut], whole=False),)
    )
    begun, start = form.partial_text(said, talk(form))
    all_of_it = written(form, call).removesuffix("<|call|>")
    assume(not is_text or all_of_it.startswith(begun))  # not cut in a surrogate pair
    rest = all_of_it[len(begun) :]
    offered = next(tool for tool in TOOLS if tool.name == call.name)
    rules = form.rules_in_call(
        offers_of(form), offered, "begun_text" if is_text else "begun", parallel=True
    )
    assert admits(form, rules, all_of_it[start:])
    events, reason = read(form, rest, said=said)
    new = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert (arguments[:cut] + new, events[-1], reason) == (arguments, ToolCallEnded(), "tool_calls")


@given(formats, calls, calls)
def test_a_call_follows_text_and_calls_that_are_out(
    name: str, first: tuple[str, str], second: tuple[str, str]
) -> None:
    """Behind text that broke off, and behind a whole call, the next is admitted and read."""
    form = FORMATS[name]
    for parts, rules in (
        ((Text("So"),), form.rules_after_text(offers_of(form), must=True, parallel=True)),
        ((whole(*first),), form.rules_after_call(offers_of(form), parallel=True)),
    ):
        if not form.several and isinstance(parts[0], SaidCall):
            assert not begins(form, rules, "<")
            continue
        begun = form.partial_text(PartialAnswer(parts), talk(form))[0]
        answer = written(form, *parts, whole(*second)).removesuffix("<|call|>")
        rest = answer.removeprefix(begun)
        assert len(rest) < len(answer)
        rest = rest.lstrip() if isinstance(parts[0], Text) else rest
        assert admits(form, rules, rest)
        number = sum(isinstance(part, SaidCall) for part in parts)
        assert read(form, rest, said=PartialAnswer(parts)) == (
            called(number, *second),
            "tool_calls",
        )


@given(formats, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_whatever_the_grammar_admits_is_read(
    name: str, must: bool, parallel: bool, random_: random.Random
) -> None:
    """A walk at random through the grammar ends in calls that are calls, and text without."""
    form = FORMATS[name]
    made = matcher(form, form.rules(offers_of(form), must=must, parallel=parallel))
    text = _walk(made, random_)
    assume(text is not None)
    assert text is not None
    events, reason = read(form, text)
    count = sum(isinstance(event, ToolCallStarted) for event in events)
    assert reason == ("tool_calls" if count else "end")
    assert count or not must
    assert count <= 1 or (parallel and form.several)
    for event in events:
        if isinstance(event, TextDelta):
            assert not any(mark in event.text for mark in form.markup - {"<think>", "</think>"})


def _walk(made: llguidance.LLMatcher, random_: random.Random, steps: int = 400) -> str | None:
    """Characters at random of those that are admitted, rather those that lead on to a call."""
    out = bytearray()
    for _ in range(steps):
        if made.is_stopped() or (made.is_accepting() and random_.random() < 0.02):
            return out.decode(errors="replace")
        forced = made.compute_ff_bytes()
        allowed = [ord(c) for c in '<[{"_ }]:abnru|>tolc' if made.validate_tokens([ord(c)])]
        if not allowed and not forced:
            return None
        for byte in forced or [random_.choice(allowed)]:
            assert made.consume_token(byte)
            out.append(byte)
    return None


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_a_required_call_admits_no_text(name: str) -> None:
    """Where the client insists on a call, nothing else is an answer."""
    form = FORMATS[name]
    offers = offers_of(form)
    assert not admits(form, form.rules(offers, must=True, parallel=True), "")
    assert not begins(form, form.rules(offers, must=True, parallel=True), form.output_head + "So")


# -- which format --------------------------------------------------------------------------------


def test_a_tool_with_a_grammar_is_called_in_the_general_way() -> None:
    """Text that follows a grammar does not fit into the JSON that templates know."""
    for name, form in FORMATS.items():
        assert format_for(name, talk(form)) is form
        edited = Conversation(model="m", tools=(RUN, EDIT))
        assert format_for(name, edited) is FORMATS["general"]
        none = Conversation(model="m", tools=(EDIT,), tool_choice=ToolChoice(mode="none"))
        assert format_for(name, none) is form
    assert format_for("unheard-of", Conversation(model="m")) is FORMATS["general"]


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("{{ tools }}<tool_call>{{ arguments }}", "hermes"),
        ("{{ tools }}<tool_call><function={{ arguments }}", "general"),
        ('{{ tools }}<|start_header_id|>"parameters": ', "llama3"),
        ("{{ tools }}[TOOL_CALLS]", "mistral"),
        ("{{ tools }}[TOOL_CALLS][ARGS]", "mistral-args"),
        ("{{ tools }}<|channel|><|message|>", "harmony"),
        ("<tool_call>{{ arguments }}", "general"),
        ("<start_of_turn>{{ tools }}", "general"),
    ],
)
def test_a_template_is_known_by_its_signs(source: str, name: str) -> None:
    """A format is guessed by what the template's source holds; the rest is general."""
    assert detect(source).name == name


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_format_can_be_told_in_words(name: str) -> None:
    """Where a template does not tell of the tools, text does: form, tools, demand."""
    form = FORMATS[name]
    text = form.describe((RUN, PATCH), ToolChoice(mode="named", name="run"))
    assert '## run\nRuns it.\nArguments: {"type":"object"}' in text
    assert "## patch\nInput: free text" in text
    assert "a call of the tool run" in text
    example = ToolCall(id="", name="tool-name", arguments='{"parameter": "value"}')
    assert form.call_text(example, "object") in text
    assert form.describe((), ToolChoice()) == ""
    assert form.describe((RUN,), ToolChoice(mode="none")) == ""
    assert "no such" in form.result_text(ToolResult(call_id="1", text="no such", is_error=True))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_marks_in_text_that_is_out_steer_nothing(name: str) -> None:
    """What another model said is text in the beginning of an answer, whatever it looks like."""
    form = FORMATS[name]
    for mark in form.markup:
        conversation = Conversation(model="m")
        plain = form.partial_text(PartialAnswer((Text("a b"),)), conversation)[0]
        marked = form.partial_text(PartialAnswer((Text(f"a{mark}b"),)), conversation)[0]
        assert marked.count(mark) == plain.count(mark)
