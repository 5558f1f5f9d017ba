"""The rest of an answer: what an engine is asked, and what a tier that starts again repeats."""

from __future__ import annotations

import json
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.answer import PartialAnswer, SaidCall, TextDelta, ToolCallDelta, ToolCallEnded
from fallback.core.conversation import Conversation, OutputFormat, Sampling, Text, Tool, ToolChoice
from fallback.core.errors import EngineError
from fallback.core.grammar_text import engine_text
from fallback.core.json_scan import plain_escapes
from fallback.core.splice import (
    Continuation,
    LeadingSpaces,
    Overlap,
    continuation,
    estimated_tokens,
)
from fallback.core.tool_formats import GENERAL

TOKENIZER = llguidance.LLTokenizer("byte")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
}
WEATHER = Tool(name="weather", parameters=SCHEMA)
PATCH = Tool(name="patch", kind="custom")
CALL = '<tool_call>\n{"name": "weather", "arguments": {"city":"Ulm","days":1}}\n</tool_call>'
END = "}\n</tool_call>"


def talk(*tools: Tool, **fields: Any) -> Conversation:
    return Conversation(model="m", tools=tools, **fields)


def call(arguments: str, *, name: str = "weather", whole: bool = False) -> SaidCall:
    kind: Any = "custom" if name == "patch" else "function"
    return SaidCall(name=name, kind=kind, arguments=arguments, whole=whole)


def rest_of(conversation: Conversation, *parts: Text | SaidCall) -> Continuation:
    return continuation(conversation, PartialAnswer(parts), 0)


def admits(rest: Continuation, text: str, *, whole: bool = True) -> bool:
    """Whether the engine may write `text`, as all the rest or as its beginning."""
    assert rest.grammar is not None
    matcher = llguidance.LLMatcher(TOKENIZER, engine_text(rest.grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    counted = rest.prefix[rest.grammar_start :]
    if not matcher.consume_tokens(TOKENIZER.tokenize_str(counted)):
        return False
    fits = bool(matcher.consume_tokens(TOKENIZER.tokenize_str(text)))
    return fits and (matcher.is_accepting() or not whole)


# -- what the engine is asked --------------------------------------------------------------------


def test_text_goes_on_freely() -> None:
    """Text has no grammar, and the engine goes on right behind it."""
    rest = rest_of(talk(), Text("Hello wor"))
    assert (rest.prefix, rest.grammar, rest.spaces) == ("Hello wor", None, 0)


def test_spaces_at_the_end_are_left_to_the_engine() -> None:
    """A model writes a space with the word behind it, so it gets to, and it is taken off."""
    rest = rest_of(talk(), Text("Hello  "))
    assert (rest.prefix, rest.spaces) == ("Hello", 2)
    assert rest_of(talk(), Text("One:\n\n")).prefix == "One:\n\n"


def test_a_call_may_follow_text() -> None:
    """In a text with tools on offer, more text and then calls may come, whatever was said."""
    rest = rest_of(talk(WEATHER), Text("The marker is <tool_call>, he said"))
    assert admits(rest, " and left.")
    assert admits(rest, f"\n{CALL}")
    assert not admits(rest, "<tool_call>", whole=True)


def test_after_a_call_only_calls_come() -> None:
    """A call that is whole may be the last one; text does not follow it."""
    rest = rest_of(talk(WEATHER), Text("Let me look."), call('{"days": 1, "odd": 2}', whole=True))
    assert rest.prefix.endswith('"arguments": {"days": 1, "odd": 2}}\n</tool_call>')
    assert admits(rest, "")
    assert admits(rest, f"\n{CALL}")
    assert not admits(rest, " So", whole=False)


def test_without_parallel_calls_one_is_the_end() -> None:
    """Where the client wants one call at a time, nothing follows it."""
    conversation = talk(WEATHER, tool_choice=ToolChoice(parallel=False))
    rest = rest_of(conversation, call("{}", whole=True))
    assert admits(rest, "")
    assert not admits(rest, "\n", whole=False)


def test_a_call_beside_a_format_is_the_end() -> None:
    """A call in an answer that is to be structured leaves nothing to say."""
    conversation = talk(WEATHER, output_format=OutputFormat(kind="json_object"))
    assert admits(rest_of(conversation, call("{}", whole=True)), "")


def test_a_call_that_is_insisted_on_comes_after_text_too() -> None:
    """The cloud may have said something before the call that it owes."""
    conversation = talk(WEATHER, tool_choice=ToolChoice(mode="required"))
    rest = rest_of(conversation, Text("Well"))
    assert admits(rest, CALL)
    assert not admits(rest, " then", whole=False)
    assert admits(rest_of(conversation, call("{}", whole=True), Text("So")), " be it.")


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city":"Ulm","days":1}',
        '{"city": "Ulm", "days": 1}',
        '{\n  "days": 1,\n  "city": "Ulm"\n}',
    ],
)
def test_arguments_go_on_from_any_place(arguments: str) -> None:
    """Wherever the arguments broke off, in whatever style, the rest of them is admitted, and
    nothing that the schema does not know."""
    for cut in range(arguments.index('"') + 2, len(arguments)):
        begun, missing = arguments[:cut], arguments[cut:]
        rest = rest_of(talk(WEATHER), Text("Well."), call(begun))
        assert rest.prefix.endswith(f'"arguments": {begun}')
        assert admits(rest, missing + END)
        if "1" in missing:
            assert not admits(rest, missing.replace("1", '"1"') + END)


def test_arguments_against_the_schema_are_refused() -> None:
    """What the client has already must fit the schema, or nothing can go on with it."""
    rest = rest_of(talk(WEATHER), call('{"city": 7'))
    assert not admits(rest, ', "days": 1}' + END)


def test_a_number_that_has_ended_has_ended() -> None:
    """White space behind a number is its end: no digit may follow."""
    rest = rest_of(talk(WEATHER), call('{"city": "x", "days": 1 '))
    assert not admits(rest, "2}" + END)
    assert admits(rest, "}" + END)


def test_free_text_of_a_custom_tool_goes_on() -> None:
    """What a custom tool got so far is the beginning of a JSON string to the model."""
    rest = rest_of(talk(PATCH), call('*** "a"\n', name="patch"))
    assert rest.prefix.endswith('"input": "*** \\"a\\"\\n')
    assert admits(rest, 'b"' + END)


def test_a_call_of_an_unknown_tool_cannot_go_on() -> None:
    """No grammar can end a call whose schema nobody knows."""
    with pytest.raises(EngineError, match="which is not offered"):
        rest_of(talk(WEATHER), call("{", name="clock"))


@given(st.text(max_size=8), st.integers(), st.sampled_from([None, 0, 2]), st.booleans(), st.data())
def test_structured_output_goes_on_from_any_place(
    city: str, days: int, indent: int | None, ascii_only: bool, data: st.DataObject
) -> None:
    """Wherever structured output broke off, in whatever style, the rest is admitted; with what
    the client has it is the whole."""
    text = json.dumps({"city": city, "days": days}, indent=indent, ensure_ascii=ascii_only)
    text = text if ascii_only else plain_escapes(text)
    begun = text[: data.draw(st.integers(0, len(text)))]
    if plain_escapes(begun) + plain_escapes(text[len(begun) :]) != plain_escapes(text):
        return  # cut in an escape, which the grammar writes otherwise
    conversation = talk(output_format=OutputFormat(kind="json_schema", schema=SCHEMA))
    rest = rest_of(conversation, Text("\n" + begun))
    assert admits(rest, plain_escapes(text[len(begun) :]))


def test_structured_output_that_is_whole_is_the_end() -> None:
    """White space behind a whole value is no obstacle."""
    conversation = talk(output_format=OutputFormat(kind="json_object"))
    assert admits(rest_of(conversation, Text('{"a": 1}\n')), "")


def test_the_budget_is_what_is_left() -> None:
    """What the cloud spent is taken off the client's limit; at least one token is left."""
    limited = talk(sampling=Sampling(max_tokens=100))
    said = PartialAnswer((Text("x"),))
    assert continuation(limited, said, 30).conversation.sampling.max_tokens == 70
    assert continuation(limited, said, 300).conversation.sampling.max_tokens == 1
    assert continuation(talk(), said, 30).conversation.sampling.max_tokens is None


def test_tokens_are_estimated_by_bytes() -> None:
    """Four bytes are about a token, and a part of one counts."""
    assert [estimated_tokens(text) for text in ("", "a", "four", "fives", "日本")] == [
        0,
        1,
        1,
        2,
        2,
    ]


# -- how the engine's text is read ---------------------------------------------------------------


def events_behind(*parts: Text | SaidCall, text: str, tools: tuple[Tool, ...] = (WEATHER,)) -> Any:
    parser = GENERAL.reader(talk(*tools), lambda n: f"call_{n}")
    parser.resume(PartialAnswer(parts))
    events = [event for char in text for event in parser.feed(char)]
    rest, reason = parser.finish("end")
    return [*events, *rest], reason


def test_calls_are_counted_on() -> None:
    """A call behind others gets the next id, and calls of the cloud's make the answer one."""
    events, reason = events_behind(call("{}", whole=True), text=f"\n{CALL}")
    assert (events[0].id, reason) == ("call_1", "tool_calls")
    assert events_behind(call("{}", whole=True), text="") == ([], "tool_calls")


def test_open_arguments_are_read_to_their_end() -> None:
    """The rest of the arguments is passed on, its markup is not."""
    events, reason = events_behind(call('{"city": "U'), text='lm"}' + END)
    said = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert (said, events[-1], reason) == ('lm"}', ToolCallEnded(), "tool_calls")


def test_open_free_text_is_read_to_its_end() -> None:
    """The rest of a custom tool's text comes without its escapes."""
    events, _ = events_behind(call("a\\", name="patch"), text='\\n\\"b"' + END, tools=(PATCH,))
    said = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert said == '\n"b'


def test_arguments_that_end_early_leave_no_whole_call() -> None:
    """A call that stays unfinished is never told as made."""
    assert events_behind(call('{"city": "U'), text="lm")[1] == "max_tokens"


def test_no_thinking_opens_in_the_rest() -> None:
    """What a model reasons when it goes on is reasoning, never text of the answer."""
    events, _ = events_behind(Text("Four"), text="<think>hm</think> and five")
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "and five"


# -- what a tier repeats that starts again -------------------------------------------------------


def fed(overlap: Overlap, text: str, size: int = 1) -> str:
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    return "".join(map(overlap.feed, pieces))


prefixes = st.text(alphabet="ab \n", max_size=30)


@given(prefixes, st.text(alphabet="ab \n", max_size=20), st.sampled_from(["", " ", "\n\n"]))
def test_a_repeated_beginning_is_taken_off(prefix: str, rest: str, blank: str) -> None:
    """Whoever says all over again what was said, adds only what is new."""
    if prefix.strip():
        assert fed(Overlap(prefix), blank + prefix.lstrip() + rest) == rest


@given(prefixes, st.text(alphabet="ab \n", max_size=40), st.integers(1, 9))
def test_pieces_do_not_matter(prefix: str, text: str, size: int) -> None:
    """The same text in other pieces comes out the same."""
    assert fed(Overlap(prefix), text, size) == fed(Overlap(prefix), text)


@given(prefixes, st.text(alphabet="ab \n", max_size=40))
def test_nothing_new_is_lost(prefix: str, text: str) -> None:
    """What is missing of the text's beginning was said before."""
    out = fed(Overlap(prefix), text)
    came = next(text[at:] for at in range(len(text) + 1) if out.endswith(text[at:]))
    assert prefix.strip().startswith(text.removesuffix(came).strip())


def test_a_new_start_is_a_paragraph_of_its_own() -> None:
    """What soon says something else is passed on whole, apart from what was said."""
    assert fed(Overlap("Certainly! The sea is"), "Certainly, here") == "\n\nCertainly, here"
    assert fed(Overlap("The sea is wide.\n"), "A poem") == "A poem"


def test_what_strays_late_goes_on_from_its_word() -> None:
    """A repetition that ends in other words is taken off up to the word that differs."""
    assert fed(Overlap("one two three for"), "one two three five") == " five"
    assert fed(Overlap("one two three for "), "one two three five") == "five"


def test_white_space_alone_is_not_held_back_for_ever() -> None:
    """The hold-back is bounded."""
    assert len(fed(Overlap("word"), " " * 1000)) > 700


def test_leading_spaces_are_taken_once() -> None:
    """At most as many spaces as were taken from the prefix, and only in front."""
    leading = LeadingSpaces(2)
    assert [leading.feed(text) for text in (" ", "", "  a", "  b")] == ["", "", " a", "  b"]
    assert LeadingSpaces(1).feed("\n a") == "\n a"


def test_escapes_become_those_that_the_grammar_knows() -> None:
    """Escapes that JSON does not ask for are written out; half a character stays."""
    assert plain_escapes(r'"\u00e9\/\ud83d\ude00\n\"\\u0041\u0001') == '"é/😀\\n\\"\\\\u0041\\u0001'
    assert plain_escapes(r'"\ud83d" "\u00') == r'"\ud83d" "\u00'
    assert plain_escapes('"\x7f"') == '"\\u007f"'
