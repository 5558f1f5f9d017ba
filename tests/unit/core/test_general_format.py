from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fallback.core.answer import (
    AnswerEvent,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.conversation import (
    Conversation,
    OutputFormat,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from fallback.core.tool_formats import GENERAL
from fallback.core.tool_formats.inputs import past_form
from fallback.core.tool_syntax import callable_tools

RUN = Tool(name="run", description="Runs it.", parameters={"type": "object"})
PATCH = Tool(name="patch", kind="custom")
EDIT = Tool(name="edit", kind="custom", grammar_syntax="lark", grammar="start: /.*/")
REASONS: list[StopReason] = ["end", "max_tokens", "stop_sequence"]
TALK = Conversation(model="m", tools=(RUN, PATCH, EDIT))


def parse(
    text: str, *, size: int = 1, reason: StopReason = "end", talk: Conversation = TALK
) -> tuple[list[AnswerEvent], StopReason]:
    """Events of the text fed in pieces of `size`, with deltas of one kind in a row joined."""
    parser = GENERAL.reader(talk, lambda n: f"call_{n}")
    events: list[AnswerEvent] = []
    for start in range(0, len(text), size):
        events += parser.feed(text[start : start + size])
    last, reason = parser.finish(reason)
    return _joined(events + last), reason


def _joined(events: list[AnswerEvent]) -> list[AnswerEvent]:
    joined: list[AnswerEvent] = []
    for event in events:
        before = joined[-1] if joined else None
        if isinstance(event, TextDelta) and isinstance(before, TextDelta):
            joined[-1] = TextDelta(before.text + event.text)
        elif isinstance(event, ThinkingDelta) and isinstance(before, ThinkingDelta):
            joined[-1] = ThinkingDelta(before.text + event.text)
        elif isinstance(event, ToolCallDelta) and isinstance(before, ToolCallDelta):
            joined[-1] = ToolCallDelta(before.arguments + event.arguments)
        else:
            joined.append(event)
    return joined


def called(number: int, tool: Tool, *arguments: str) -> list[AnswerEvent]:
    started = ToolCallStarted(id=f"call_{number}", name=tool.name, kind=tool.kind)
    return [started, *map(ToolCallDelta, arguments), ToolCallEnded()]


def call_text(name: str, arguments: str) -> str:
    return GENERAL.call_text(ToolCall(id="", name=name, arguments=arguments), "object")


def custom_call_text(name: str, text: str) -> str:
    return GENERAL.call_text(ToolCall(id="", name=name, arguments=text), "string")


objects = st.dictionaries(st.text(max_size=4), st.text(max_size=8), max_size=3)
answers = st.lists(
    st.one_of(
        st.sampled_from(
            ["<tool_call>", "</tool_call>", "<think>", "</think>", "\n", " ", "<", "x"]
        ),
        objects.map(lambda value: call_text("run", json.dumps(value))),
        st.text(max_size=8).map(lambda text: custom_call_text("patch", text)),
        st.sampled_from(['<tool_call>\n{"name": "edit"}\n', "\n</tool_call>"]),
        st.sampled_from(['<tool_call>{"name":"run",', '{"name": "no", "arguments": {}}']),
    ),
    max_size=6,
).map("".join)


@given(answers, st.integers(1, 9))
def test_pieces_do_not_matter(text: str, size: int) -> None:
    """The same text in other pieces gives the same events and the same reason."""
    assert parse(text, size=size) == parse(text, size=len(text) or 1)


@given(answers)
def test_events_are_in_order(text: str) -> None:
    """Every call that starts ends before anything else comes, and no delta is empty."""
    is_open = False
    for event in parse(text)[0]:
        match event:
            case ToolCallStarted():
                assert not is_open
                is_open = True
            case ToolCallDelta():
                assert is_open
                assert event.arguments
            case ToolCallEnded():
                assert is_open
                is_open = False
            case TextDelta() | ThinkingDelta():
                assert not is_open
                assert event.text
    assert not is_open


@given(objects, st.text(max_size=30))
def test_calls_written_by_the_rules_are_read_back(value: dict[str, str], text: str) -> None:
    """What `call_text` and `custom_call_text` write, the parser reads."""
    written = json.dumps(value)
    answer = f"{call_text('run', written)}\n{custom_call_text('patch', text)}"
    events, reason = parse(answer)
    assert events == called(0, RUN, written) + called(1, PATCH, *filter(None, [text]))
    assert reason == "tool_calls"


@given(st.integers(0, 100), st.sampled_from(REASONS))
def test_a_call_that_is_cut_off_is_never_complete(length: int, reason: StopReason) -> None:
    """However far a call came: unknown it is text, begun it ends the answer as cut off."""
    arguments = '{"command": "ls -la", "depth": {"a": [1, "}"]}}'
    cut = call_text("run", arguments)[:length]
    events, told = parse(cut, reason=reason)
    if not any(isinstance(event, ToolCallStarted) for event in events):
        assert (events, told) == ([TextDelta(cut)] if cut else [], reason)
    elif told == "tool_calls":
        assert (reason, _arguments(events)) == ("end", arguments)
    else:
        assert told == ("max_tokens" if reason == "end" else reason)


def _arguments(events: list[AnswerEvent]) -> str:
    return "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))


def test_text_streams_at_once() -> None:
    """Only what may be the beginning of a call waits."""
    parser = GENERAL.reader(TALK, str)
    assert parser.feed("Hello <b") == [TextDelta("Hello <b")]
    assert parser.feed(" <tool") == []
    assert parser.feed("box>") == [TextDelta(" <toolbox>")]
    assert parser.finish("end") == ([], "end")


def test_arguments_stream_as_they_come() -> None:
    """A call starts with its head, and its arguments are passed on piece by piece."""
    parser = GENERAL.reader(TALK, str)
    assert parser.feed('<tool_call>\n{"name": "run", "arguments"') == []
    assert parser.feed(': {"a"') == [ToolCallStarted(id="0", name="run"), ToolCallDelta('{"a"')]
    assert parser.feed(":1}") == [ToolCallDelta(":1}"), ToolCallEnded()]
    assert parser.feed("}\n</tool_call>") == []
    assert parser.finish("end") == ([], "tool_calls")
    assert repr(parser) == "MarkedReader(_read_text, calls=1, held='')"


def test_white_space_around_calls_is_markup() -> None:
    """Text before and after calls loses the white space that only sets them apart."""
    answer = f"I look.\n\n{call_text('run', '{}')}\n\nDone."
    assert parse(answer)[0] == [TextDelta("I look."), *called(0, RUN, "{}"), TextDelta("Done.")]


def test_loosely_written_calls_are_read() -> None:
    """Other white space than ours, and a missing end of the markup, do not hide a call."""
    answer = (
        '<tool_call>{ "name":"run" , "arguments" :{"a": 1} }</tool_call>'
        '<tool_call>{"name": "run", "arguments": {}}'
    )
    assert parse(answer) == (called(0, RUN, '{"a": 1}') + called(1, RUN, "{}"), "tool_calls")


@pytest.mark.parametrize(
    "text",
    [
        '<tool_call>\n{"name": "unknown", "arguments": {}}\n</tool_call>',
        '<tool_call>\n{"name": "run", "input": "x"}\n</tool_call>',
        '<tool_call>\n{"name": "run", "arguments": "x"}\n</tool_call>',
        '<tool_call>\n{"name": "\\q", "arguments": {}}\n</tool_call>',
        "<tool_call>\nnot JSON\n</tool_call> and on",
    ],
)
def test_what_is_no_call_stays_text(text: str) -> None:
    """An unknown tool or a wrong form is the text it is, whole."""
    assert parse(text) == ([TextDelta(text)], "end")


def test_a_call_with_broken_json_does_not_pass_for_a_good_one() -> None:
    """Arguments that are not JSON end the answer as cut off."""
    assert parse(call_text("run", "{a: 1}")) == (called(0, RUN, "{a: 1}"), "max_tokens")


def test_a_custom_tools_text_is_decoded() -> None:
    """Escapes come out as the characters they stand for, whole ones only."""
    said = "a\\n\\u00e9\\ud83d\\ude00\\ud83dx\\udc00"
    answer = f'<tool_call>\n{{"name": "patch", "input": "{said}"}}\n</tool_call>'
    assert parse(answer) == (called(0, PATCH, "a\né😀�x�"), "tool_calls")


def test_thinking_at_the_start_is_told_apart() -> None:
    """Reasoning before the answer is thinking, also where it speaks of calls."""
    answer = "\n<think>\nuse <tool_call>?\n</think>\n\nYes."
    assert parse(answer)[0] == [ThinkingDelta("\nuse <tool_call>?\n"), TextDelta("Yes.")]
    assert parse("<think>hm")[0] == [ThinkingDelta("hm")]
    assert parse("So <think>")[0] == [TextDelta("So <think>")]


@pytest.mark.parametrize(
    "talk",
    [
        Conversation(model="m"),
        Conversation(model="m", tools=(RUN,), tool_choice=ToolChoice(mode="none")),
        Conversation(model="m", tools=(RUN,), output_format=OutputFormat(kind="json_object")),
    ],
)
def test_without_callable_tools_markup_is_text(talk: Conversation) -> None:
    """Where no tool may be called, a call is plain text and white space is kept."""
    text = f"So: \n{call_text('run', '{}')}\n"
    assert parse(text, talk=talk) == ([TextDelta(text)], "end")


def test_structured_output_is_all_text() -> None:
    """In structured output not even thinking is looked for."""
    talk = Conversation(model="m", output_format=OutputFormat(kind="json_object"))
    assert parse("<think>{}", talk=talk)[0] == [TextDelta("<think>{}")]


def test_a_limit_after_whole_calls_is_still_told() -> None:
    """Calls that are whole do not hide that the answer was cut off after them."""
    assert parse(call_text("run", "{}") + "\nand", reason="max_tokens")[1] == "max_tokens"


def test_the_description_names_tools_schemas_and_demands() -> None:
    """The model is told the form of a call, each tool, and what it must do."""
    text = GENERAL.describe((RUN, PATCH), ToolChoice(mode="named", name="run"))
    assert '## run\nRuns it.\nArguments: {"type":"object"}' in text
    assert "## patch\nInput: free text" in text
    assert "a call of the tool run" in text
    assert custom_call_text("tool-name", "the text") in text
    assert "free text" not in GENERAL.describe((RUN,), ToolChoice(mode="required"))
    assert GENERAL.describe((RUN,), ToolChoice(mode="none")) == ""


def test_only_the_named_tool_can_be_called() -> None:
    """A choice by name leaves that tool; a name that is not there leaves all."""
    talk = Conversation(model="m", tools=(RUN, PATCH, RUN))
    for name, left in (("patch", (PATCH,)), ("gone", (RUN, PATCH))):
        choice = ToolChoice(mode="named", name=name)
        named = Conversation(model="m", tools=talk.tools, tool_choice=choice)
        assert callable_tools(named) == left


def test_earlier_calls_and_results_are_written_like_new_ones() -> None:
    """History shows the model the very form it is asked to write."""
    assert call_text("run", "") == call_text("run", "{}")
    failed = ToolResult(call_id="1", text="no such file", is_error=True)
    assert GENERAL.result_text(failed) == "<tool_response>\nerror: no such file\n</tool_response>"


@pytest.mark.parametrize(
    ("name", "arguments", "form"),
    [
        ("run", '{"a":1}', "object"),
        ("run", "", "object"),
        ("gone", "*** Begin", "string"),
        ("patch", '{"a":1}', "string"),
        ("edit", "*** Begin", "raw"),
    ],
)
def test_the_form_of_an_earlier_call(name: str, arguments: str, form: str) -> None:
    """A custom tool's call has the tool's form; otherwise what is no JSON object was text."""
    call = ToolCall(id="1", name=name, arguments=arguments)
    assert past_form(call, (RUN, PATCH, EDIT)) == form


@given(st.text(max_size=30), st.text(max_size=9), st.integers(1, 9))
def test_raw_text_is_read_as_it_is(text: str, more: str, size: int) -> None:
    """Up to what closes the call, the text of a tool with a grammar needs no escapes."""
    assume("</tool_call>" not in text)
    written = GENERAL.call_text(ToolCall(id="", name="edit", arguments=text), "raw")
    events, reason = parse(f"{written}\n{call_text('run', '{}')}", size=size)
    assert events == called(0, EDIT, *filter(None, [text])) + called(1, RUN, "{}")
    assert reason == "tool_calls"
    assert parse(written.removesuffix("</tool_call>"))[1] == "max_tokens"


def test_white_space_before_what_is_no_call_stays() -> None:
    """Text that looked like a call for a while loses nothing."""
    text = "So \n<tool_call>\n is the mark."
    assert parse(text) == ([TextDelta(text)], "end")


def test_a_call_inside_of_what_is_none_is_found() -> None:
    """A mark that was none does not hide the call behind it."""
    text = f"<tool_call>{call_text('run', '{}')}"
    assert parse(text)[0] == [TextDelta("<tool_call>"), *called(0, RUN, "{}")]
