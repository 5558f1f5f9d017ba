"""The grammars are tried on llguidance itself, with a tokenizer of single bytes."""

from __future__ import annotations

import json
from typing import Any

import captured
import llguidance
import pytest

from fallback.core.conversation import Conversation, OutputFormat, Tool, ToolChoice
from fallback.core.errors import BadRequest
from fallback.core.grammar import grammar_for
from fallback.core.grammar_text import engine_text
from fallback.core.tool_formats import FORMATS, ToolFormat

TOKENIZER = llguidance.LLTokenizer("byte")

WEATHER = Tool(
    name="weather",
    parameters={
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    },
)
CLOCK = Tool(name="clock", parameters={"type": "object", "properties": {}})
PATCH = Tool(name="patch", kind="custom")
WEATHER_CALL = '<tool_call>\n{"name": "weather", "arguments": {"city":"Ulm"}}\n</tool_call>'
CLOCK_CALL = '<tool_call>\n{"name": "clock", "arguments": {}}\n</tool_call>'


def talk(*tools: Tool, output: OutputFormat | None = None, **choice: Any) -> Conversation:
    return Conversation(
        model="m", tools=tools, tool_choice=ToolChoice(**choice), output_format=output
    )


def admits(conversation: Conversation, text: str) -> bool:
    """Whether the text is a whole answer by the conversation's grammar."""
    matcher = _matcher(conversation)
    tokens = TOKENIZER.tokenize_str(text)
    return matcher.validate_tokens(tokens) == len(tokens) and (
        matcher.consume_tokens(tokens) and matcher.is_accepting()
    )


def begins(conversation: Conversation, text: str) -> bool:
    """Whether an answer can begin with the text."""
    tokens = TOKENIZER.tokenize_str(text)
    return _matcher(conversation).validate_tokens(tokens) == len(tokens)


def _matcher(conversation: Conversation) -> llguidance.LLMatcher:
    grammar = grammar_for(conversation)
    assert grammar is not None
    matcher = llguidance.LLMatcher(TOKENIZER, engine_text(grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    return matcher


@pytest.mark.parametrize("name", captured.conversations())
def test_all_that_real_clients_send_compiles(name: str) -> None:
    """No captured tool or output schema is refused."""
    conversation = captured.conversations()[name]
    grammar = grammar_for(conversation)
    if grammar is None:
        assert not conversation.tools
        assert conversation.output_format is None
    else:
        # The captures' prose is made unreadable, and so is the grammar of that one tool.
        instead = {part.rule: part.instead for part in grammar.parts if part.lark and part.instead}
        assert all("apply_patch" in part.about for part in grammar.parts if part.lark)
        assert llguidance.LLMatcher.validate_grammar(engine_text(grammar, instead), TOKENIZER) == ""
        assert grammar.loosened == ()


def test_free_answers_have_no_grammar() -> None:
    """Without tools to call or a format to keep, nothing is constrained."""
    assert grammar_for(talk()) is None
    assert grammar_for(talk(WEATHER, mode="none")) is None


def test_an_offered_tool_leaves_text_free() -> None:
    """Text of any kind is a whole answer, also with angle brackets in it."""
    assert admits(talk(WEATHER), "It is <b>fine</b>.\n<tool_cal")
    assert admits(talk(WEATHER), "")


def test_text_then_a_call() -> None:
    """A call may follow text, and ends the answer but for more calls."""
    conversation = talk(WEATHER, CLOCK)
    assert admits(conversation, f"Let me see.\n{WEATHER_CALL}")
    assert admits(conversation, f"{WEATHER_CALL}\n{CLOCK_CALL}")
    assert not begins(conversation, f"{WEATHER_CALL} and")


def test_the_marker_opens_only_into_a_call() -> None:
    """What looks like a call is one: no text with the marker, no unknown name."""
    conversation = talk(WEATHER)
    assert not admits(conversation, "<tool_call>")
    assert not begins(conversation, "so <tool_call> is")
    assert not begins(conversation, '<tool_call>\n{"name": "clock"')


@pytest.mark.parametrize(
    "arguments",
    ['{"days":1}', '{"city":1}', '{"city":"Ulm","more":1}', '{ "city":"Ulm"}', '{"city":"Ulm"'],
)
def test_arguments_keep_the_tools_schema(arguments: str) -> None:
    """Missing, mistyped and invented arguments and loose white space are refused."""
    call = WEATHER_CALL.replace('{"city":"Ulm"}', arguments)
    assert admits(talk(WEATHER), WEATHER_CALL)
    assert not admits(talk(WEATHER), call)


def test_a_required_call_admits_nothing_else() -> None:
    """Where the client insists on a call, text is no answer."""
    conversation = talk(WEATHER, CLOCK, mode="required")
    assert admits(conversation, CLOCK_CALL)
    assert not begins(conversation, "Well")
    assert not admits(conversation, "")


def test_a_named_tool_is_the_only_one() -> None:
    """The choice of one tool shuts out the others."""
    conversation = talk(WEATHER, CLOCK, mode="named", name="clock")
    assert admits(conversation, CLOCK_CALL)
    assert not begins(conversation, WEATHER_CALL)


def test_parallel_calls_can_be_switched_off() -> None:
    """Without parallel calls the first is the last."""
    assert not begins(talk(WEATHER, parallel=False), f"{WEATHER_CALL}\n<")


def test_a_custom_tool_takes_any_text() -> None:
    """A custom tool's input is one JSON string."""
    call = '<tool_call>\n{"name": "patch", "input": "*** Begin\\n\\"x\\""}\n</tool_call>'
    assert admits(talk(PATCH), call)
    assert not begins(talk(PATCH), '<tool_call>\n{"name": "patch", "arguments"')


def test_structured_output_is_json_from_the_first_character() -> None:
    """An output schema rules the whole answer, also beside tools that may be called."""
    output = OutputFormat(kind="json_schema", schema=WEATHER.parameters)
    for conversation in (talk(output=output), talk(CLOCK, output=output)):
        assert admits(conversation, '{"city":"Ulm","days":2}')
        assert not begins(conversation, " {")
        assert not begins(conversation, CLOCK_CALL)


def test_a_call_that_is_insisted_on_comes_before_the_format() -> None:
    """Of two demands that cannot both be met, the tool call wins."""
    output = OutputFormat(kind="json_object")
    assert admits(talk(CLOCK, output=output, mode="required"), CLOCK_CALL)


def test_any_json_object() -> None:
    """Without a schema any object will do, and only an object."""
    conversation = talk(output=OutputFormat(kind="json_object"))
    assert admits(conversation, '{"a":[1,{"b":null}]}')
    assert not begins(conversation, "[")


@pytest.mark.parametrize(
    "detail",
    [
        {"type": "string", "format": "made-up"},
        {"type": "string", "pattern": "^(?!x)a"},
        {"type": "string", "propertyNames": {"type": "string"}, "default": {"a": 1}},
        {"type": "object", "properties": {"default": {"$schema": "x:y", "type": "string"}}},
        {"anyOf": [{"type": "string", "pattern": "(a)\\1"}, {"type": "null"}]},
    ],
)
def test_harmless_details_do_not_cost_a_tool(detail: dict[str, Any]) -> None:
    """Annotations, unknown formats and patterns are left out instead of refused."""
    schema = {"$schema": "https://example.org/meta", "properties": {"x": detail}}
    assert begins(talk(Tool(name="t", parameters=schema), mode="required"), "<tool_call>\n")


def test_properties_that_share_a_name_with_an_annotation_stay() -> None:
    """A property called `title` is not an annotation."""
    schema = {"properties": {"title": {"type": "string"}}, "required": ["title"]}
    conversation = talk(output=OutputFormat(kind="json_schema", schema=schema))
    assert admits(conversation, json.dumps({"title": "x"}, separators=(",", ":")))
    assert not begins(conversation, "{}")


@pytest.mark.parametrize(
    "opened",
    [
        {"additionalProperties": True},
        {"required": ["more"]},
        {"allOf": [{"properties": {"more": {"type": "integer"}}}]},
    ],
)
def test_objects_that_say_they_are_open_stay_so(opened: dict[str, Any]) -> None:
    """An object is closed only where its schema lists all its properties."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, **opened}
    conversation = talk(output=OutputFormat(kind="json_schema", schema=schema))
    assert admits(conversation, '{"a":1,"more":2}')


def test_text_already_sent_counts_as_written() -> None:
    """A matcher fed with the beginning of an answer admits just its continuation."""
    matcher = _matcher(talk(WEATHER))
    assert matcher.consume_tokens(TOKENIZER.tokenize_str('<tool_call>\n{"name": "wea'))
    assert matcher.compute_ff_bytes() == b'ther", "arguments": {"city":"'


LINES = Tool(
    name="lines", kind="custom", grammar_syntax="lark", grammar='start: line+\nline: /[a-z]+/ "\\n"'
)
CODE = Tool(name="code", kind="custom", grammar_syntax="regex", grammar=r"[A-Z]{2}/\d{3}\/x")


PATCHES = r"""
start: "*** Begin" LF hunk+ "*** End" LF?
hunk: "*** File: " /[^\n]+/ LF line*
line: /[ +-][^\n]*/ LF
%import common.LF
"""
PATCH_TEXT = "*** Begin\n*** File: a.py\n-<b>\n+</b>\n*** End"
PATCHING = Tool(name="patching", kind="custom", grammar_syntax="lark", grammar=PATCHES)
ANYTHING = Tool(name="any", kind="custom", grammar_syntax="regex", grammar=r"(?s:.+)")


def custom_call(tool: Tool, text: str) -> str:
    return f'<tool_call>\n{{"name": "{tool.name}"}}\n{text}\n</tool_call>'


@pytest.mark.parametrize(
    ("tool", "good", "bad"),
    [
        (LINES, "ab\ncd\n", "AB\n"),
        (CODE, "AB/123/x", "AB/12/x"),
        (CODE, "XY/000/x", "XY/000/xx"),
        (PATCHING, PATCH_TEXT, "*** Begin\n*** End"),
        (PATCHING, PATCH_TEXT + "\n", "*** End"),
        (ANYTHING, "a < b", ""),
    ],
)
def test_a_custom_tools_own_grammar_is_kept(tool: Tool, good: str, bad: str) -> None:
    """Lark and regular expressions of the client's rule the raw input of their tool."""
    conversation = talk(CLOCK, tool)
    assert admits(conversation, custom_call(tool, good))
    assert not admits(conversation, custom_call(tool, bad))
    assert admits(conversation, CLOCK_CALL)


def test_a_grammar_that_is_none_leaves_lines_of_text() -> None:
    """A custom tool whose grammar the engine refuses can still be called."""
    broken = Tool(name="lines", kind="custom", grammar_syntax="lark", grammar="what is this")
    grammar = grammar_for(talk(broken, mode="required"))
    assert grammar is not None
    instead = {part.rule: part.instead or "" for part in grammar.parts}
    matcher = llguidance.LLMatcher(TOKENIZER, engine_text(grammar, instead), log_level=0)
    call = custom_call(broken, "one\n\n a < b & c\n")
    assert matcher.consume_tokens(TOKENIZER.tokenize_str(call))
    assert matcher.is_accepting()


UNIQUE = {"properties": {"tags": {"items": {"type": "string"}, "uniqueItems": True}}}


def test_a_detail_that_cannot_be_held_to_is_told() -> None:
    """A tool is not lost for a keyword, but the answer says what it was not held to."""
    grammar = grammar_for(talk(CLOCK, Tool(name="t", parameters=UNIQUE)))
    assert grammar is not None
    assert grammar.loosened == ("the input of the tool t: uniqueItems at #/properties/tags",)


@pytest.mark.parametrize(
    "conversation",
    [
        talk(CLOCK, Tool(name="t", parameters=UNIQUE, strict=True)),
        talk(output=OutputFormat(kind="json_schema", schema=UNIQUE, strict=True)),
    ],
)
def test_a_guarantee_that_cannot_be_given_is_refused(conversation: Conversation) -> None:
    """Where the client wants a guarantee, the keyword and its place are named."""
    with pytest.raises(BadRequest, match=r"strict.*uniqueItems at #/properties/tags"):
        grammar_for(conversation)


def test_what_is_strict_has_no_looser_form() -> None:
    """A strict schema that the engine refuses is not replaced."""
    strict = Tool(name="t", parameters=WEATHER.parameters, strict=True)
    grammar = grammar_for(talk(strict, WEATHER))
    assert grammar is not None
    assert [part.instead is None for part in grammar.parts] == [True, False]


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_every_format_makes_a_grammar(format: ToolFormat, mode: str, parallel: bool) -> None:
    """The rules of all formats compile around schemas, texts and grammars of the client's."""
    tools = [WEATHER, PATCH, LINES, CODE]
    conversation = talk(*tools[: 4 if format.takes(tools) else 2], mode=mode, parallel=parallel)
    grammar = grammar_for(conversation, format)
    assert grammar is not None
    assert llguidance.LLMatcher.validate_grammar(engine_text(grammar), TOKENIZER) == ""
