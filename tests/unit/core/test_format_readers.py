"""How the readers of the formats take what models write in their own ways."""

from __future__ import annotations

import pytest

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
from fallback.core.conversation import Conversation, OutputFormat, Tool
from fallback.core.tool_formats import FORMATS
from fallback.core.tool_formats.expected import Expected

RUN = Tool(name="run", parameters={"type": "object"})
PATCH = Tool(name="patch", kind="custom")
EDIT = Tool(name="edit", kind="custom", grammar_syntax="lark", grammar="start: /.*/")
TALK = Conversation(model="m", tools=(RUN, PATCH))
ANALYSIS = "<|channel|>analysis<|message|>"
COMMENTARY = "<|channel|>commentary<|message|>"
FINAL = "<|channel|>final<|message|>"
AGAIN = "<|end|><|start|>assistant"


def read(
    name: str, text: str, size: int, talk: Conversation = TALK
) -> tuple[list[AnswerEvent], StopReason]:
    """The events of the text in pieces of `size`, texts in a row as one."""
    reader = FORMATS[name].reader(talk, str)
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    events = [event for piece in pieces for event in reader.feed(piece)]
    last, reason = reader.finish("end")
    joined: list[AnswerEvent] = []
    for event in [*events, *last]:
        before = joined[-1] if joined else None
        if isinstance(event, TextDelta | ThinkingDelta) and type(before) is type(event):
            joined[-1] = type(event)(before.text + event.text)
        elif isinstance(event, ToolCallDelta) and isinstance(before, ToolCallDelta):
            joined[-1] = ToolCallDelta(before.arguments + event.arguments)
        else:
            joined.append(event)
    return joined, reason


def called(arguments: str = '{"a": 1}', tool: Tool = RUN, number: int = 0) -> list[AnswerEvent]:
    started = ToolCallStarted(id=str(number), name=tool.name, kind=tool.kind)
    return [started, ToolCallDelta(arguments), ToolCallEnded()]


@pytest.mark.parametrize("size", [1, 5, 500])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mistral", '[TOOL_CALLS] [{"name": "run", "arguments": {"a": 1}, "id": "abc123def"}]'),
        ("mistral", '[TOOL_CALLS][ { "name":"run" , "arguments":{"a": 1} } ]'),
        ("mistral", '[TOOL_CALLS]{"name": "run", "arguments": {"a": 1}}'),
        ("mistral-args", '[TOOL_CALLS]run[CALL_ID]abc123def[ARGS]{"a": 1}'),
        ("mistral-args", '[TOOL_CALLS] run[ARGS] {"a": 1}'),
        ("llama3", '<|python_tag|>{"name": "run", "parameters": {"a": 1}}'),
        ("llama3", '\n{"name": "run", "parameters": {"a": 1}}'),
        ("hermes", '<tool_call>{"name": "run", "arguments": {"a": 1}}</tool_call>'),
        ("harmony", f'{COMMENTARY[:-11]} to=functions.run <|constrain|>json<|message|>{{"a": 1}}'),
        ("harmony", ' to=functions.run<|channel|>commentary json<|message|>{"a": 1}<|call|>'),
        ("harmony", '<|channel|>analysis to=functions.run code<|message|>{"a": 1}'),
        ("harmony", '<|start|>assistant to=functions.run<|channel|>commentary<|message|>{"a": 1}'),
    ],
)
def test_the_ways_to_write_a_call(name: str, text: str, size: int) -> None:
    """Ids, marks left out, white space and the order of a header hide no call."""
    assert read(name, text, size) == (called(), "tool_calls")


@pytest.mark.parametrize("size", [1, 5, 500])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mistral", '[TOOL_CALLS][{"name": "patch", "arguments": {"input": "a\\nb"}}]'),
        ("mistral-args", '[TOOL_CALLS]patch[ARGS]{ "input": "a\\nb" }'),
        ("llama3", '{"name": "patch", "parameters": {"input": "a\\nb"}}'),
        ("hermes", '<tool_call>\n{"name": "patch", "arguments": {"input": "a\\nb"}}\n</tool_call>'),
        ("harmony", '<|channel|>commentary to=functions.patch<|message|>{"input": "a\\nb"}'),
    ],
)
def test_a_custom_tools_text_is_unwrapped(name: str, text: str, size: int) -> None:
    """Where a template knows functions alone, the one string is the tool's text."""
    assert read(name, text, size) == (called("a\nb", PATCH), "tool_calls")


@pytest.mark.parametrize("size", [1, 5, 500])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("mistral", '[TOOL_CALLS][{"name": "gone", "arguments": {}}]'),
        ("mistral", "[TOOL_CALLS] is the mark."),
        ("mistral-args", "[TOOL_CALLS]run{}"),
        ("mistral-args", "[TOOL_CALLS]gone[ARGS]{}"),
        ("llama3", '{"answer": 42}'),
        ("llama3", '{"name": "gone", "parameters": {}}'),
        ("llama3", 'It is {"name": "run", "parameters": {}}'),
        ("harmony", "Plain text."),
        ("harmony", "<|channel|>" + "x" * 600),
    ],
)
def test_what_is_no_call_stays_text(name: str, text: str, size: int) -> None:
    """Unknown tools, other JSON and a format that is not kept are text, whole."""
    assert read(name, text, size) == ([TextDelta(text)], "end")


@pytest.mark.parametrize("size", [1, 5, 500])
def test_messages_of_a_harmony_answer(size: int) -> None:
    """Analysis is thinking wherever it stands, text in several messages has paragraphs."""
    text = (
        f"{ANALYSIS}one{AGAIN}{COMMENTARY}I look.{AGAIN}{ANALYSIS}two{AGAIN}{FINAL}Yes.<|return|>"
    )
    assert read("harmony", text, size)[0] == [
        ThinkingDelta("one"),
        TextDelta("I look."),
        ThinkingDelta("two"),
        TextDelta("\n\nYes."),
    ]


@pytest.mark.parametrize("size", [1, 5, 500])
def test_a_harmony_message_that_lacks_its_end(size: int) -> None:
    """Another header is an end, too."""
    assert read("harmony", f"{ANALYSIS}hm{FINAL}Yes.", size)[0] == [
        ThinkingDelta("hm"),
        TextDelta("Yes."),
    ]


@pytest.mark.parametrize("size", [1, 5, 500])
def test_a_harmony_call_of_an_unknown_tool(size: int) -> None:
    """No call is invented: what it says is text, as is a call's input that is none."""
    head = "<|channel|>commentary to=functions."
    for name in ("gone", "run"):
        assert read("harmony", f"{head}{name}<|message|>[1]", size) == ([TextDelta("[1]")], "end")


def test_a_harmony_answer_that_is_cut_off() -> None:
    """In a header there is nothing to say yet; an open call is never a whole one."""
    for text in ("<|channel|>fin", f"{ANALYSIS}hm<|end|><|start|>assis"):
        assert not any(isinstance(event, TextDelta) for event in read("harmony", text, 1)[0])
    cut = '<|channel|>commentary to=functions.run<|message|>{"a'
    assert read("harmony", cut, 3) == (called('{"a'), "max_tokens")


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_structured_output_is_text(name: str) -> None:
    """What a schema asked for is text, behind what the format puts before it."""
    talk = Conversation(model="m", output_format=OutputFormat(kind="json_object"))
    text = FORMATS[name].output_head + '{"name": "run", "parameters": {}}'
    assert read(name, text, 4, talk) == ([TextDelta('{"name": "run", "parameters": {}}')], "end")


def test_raw_text_goes_on_over_its_end() -> None:
    """What closes raw text may have begun in what is out already; that is not told again."""
    talk = Conversation(model="m", tools=(EDIT,))
    for said, rest, told in (
        ("one\n", "</tool_call>", ""),
        ("one\n", "two\n</tool_call>", "two"),
        ("one", " two\n</tool_call>", " two"),
    ):
        reader = FORMATS["general"].reader(talk, str)
        begun = SaidCall(name="edit", kind="custom", arguments=said, whole=False)
        reader.resume(PartialAnswer((begun,)))
        events = [*reader.feed(rest), *reader.finish("end")[0]]
        assert events == [*map(ToolCallDelta, filter(None, [told])), ToolCallEnded()]


def test_a_form_is_known_as_soon_as_it_can_be() -> None:
    """Text is the beginning of a form until it is one, or can be none."""
    named = Expected(' { "name" : <NAME>')
    for begun in ("", " ", "{", '{ "na', '{"name": "x', '{"name": "x\\'):
        assert named.look(begun) == "begun"
    for other in ("x", '{"no', '{"name": x', '{"name" "x"'):
        assert named.look(other) is None
    found = named.look('{"name": "x\\"y" , and more')
    assert found not in (None, "begun")
    assert not isinstance(found, str)
    assert found["name"] == '"x\\"y"'


def test_the_first_form_that_may_still_come_is_waited_for() -> None:
    """A shorter form is not taken while a longer one before it may follow."""
    close = Expected(" } END", " }")
    assert close.look("} E") == "begun"
    found = close.look("} else")
    assert not isinstance(found, str | None)
    assert found[0] == "}"
