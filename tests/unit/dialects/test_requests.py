"""A request that is translated says what the client's said."""

from __future__ import annotations

import json
from typing import Any, Literal, TypeVar

import msgspec
import pytest
from asked import CLOSED_SCHEMA, LIST, PATCH, READ, conversations, spoken
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.core.conversation import (
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
from fallback.dialects import DIALECTS
from fallback.dialects.anthropic_request import supported

ANTHROPIC, CHAT, RESPONSES = "anthropic", "openai-chat", "openai-responses"
HI = (Turn("user", (Text("hi"),)),)
FREE_TEXT = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}


def sent(name: str, conversation: Conversation) -> Any:
    return json.loads(DIALECTS[name].encode_request(conversation))


def again(name: str, conversation: Conversation) -> Conversation:
    """The conversation as the server reads it."""
    return DIALECTS[name].decode(DIALECTS[name].encode_request(conversation))[0]


T = TypeVar("T", bound=Tool | OutputFormat | None)


def unstrict(read: T) -> T:
    """A tool or a format without the demand for a guarantee: we ask for one where we can."""
    return read if read is None else msgspec.structs.replace(read, strict=False)


def ask(**fields: Any) -> Conversation:
    return Conversation(**{"model": "m", "turns": HI, **fields})


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=80, deadline=None)
@given(asked=conversations())
def test_a_request_says_what_was_asked(name: str, asked: Conversation) -> None:
    """Decoded again it is the same conversation, but for what the dialect has no words for."""
    read = again(name, asked)
    assert spoken(read.turns) == expected_words(name, asked)
    assert (read.model, read.system, read.stream) == (asked.model, asked.system, asked.stream)
    assert unstrict(read.output_format) == asked.output_format
    assert read.sampling == expected_sampling(name, asked.sampling)
    assert read.tool_choice == expected_choice(name, asked.tool_choice)
    assert [tool.name for tool in read.tools] == [tool.name for tool in asked.tools]
    assert list(map(unstrict, read.tools[:2])) == list(asked.tools[:2])
    assert (read.tools[2] == PATCH) is (name == RESPONSES)


def expected_words(name: str, asked: Conversation) -> list[tuple[str, Part]]:
    words = spoken(expected_turns(name, asked))
    last_by_assistant = words[-1][0] == "assistant"
    return [*words, ("user", Text("Go on."))] if name == ANTHROPIC and last_by_assistant else words


def expected_turns(name: str, asked: Conversation) -> list[Turn]:
    turns = list(asked.turns)
    if name != RESPONSES:
        turns = [Turn(turn.role, tuple(map(wrapped, turn.parts))) for turn in turns]
    if name == ANTHROPIC:
        turns = [Turn("user", t.parts) if t.role == "system" else t for t in turns]
    return turns


def wrapped(part: Part) -> Part:
    if not isinstance(part, ToolCall) or part.name != "patch":
        return part
    return msgspec.structs.replace(part, arguments=json.dumps({"input": part.arguments}))


def expected_sampling(name: str, sampling: Sampling) -> Sampling:
    unknown: dict[str, Any] = dict.fromkeys(("presence_penalty", "frequency_penalty", "seed"))
    if name == CHAT:
        unknown = {"top_k": None}
    elif name == RESPONSES:
        unknown |= {"top_k": None, "stop": ()}
    else:
        unknown |= dict.fromkeys(("temperature", "top_p", "top_k"))
    return msgspec.structs.replace(sampling, **unknown)


def expected_choice(name: str, choice: ToolChoice) -> ToolChoice:
    if name == ANTHROPIC and choice.mode == "none":
        return ToolChoice(mode="none")
    return choice


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_calls_and_results_are_paired(name: str, data: st.DataObject) -> None:
    """Whatever turns there are, the request has each call answered at once and once, under a
    valid id of its own, and no text, call or result of theirs is lost."""
    parts = st.one_of(
        st.just(Text("some text")),
        st.builds(ToolCall, id=IDS, name=st.just("read"), arguments=st.just("{}")),
        st.builds(ToolResult, call_id=IDS, text=st.just("a result")),
    )
    roles: st.SearchStrategy[Role] = st.sampled_from(["user", "assistant", "system"])
    turns = [
        Turn(role, tuple(part for part in found if isinstance(part, Text) or said_by(part, role)))
        for role, found in data.draw(st.lists(st.tuples(roles, st.lists(parts)), max_size=6))
    ]
    asked = ask(turns=(*turns, *HI), tools=(READ,))
    read = again(name, asked)
    assert_paired(read.turns)
    for kind, word in ((Text, "some text"), (ToolResult, "a result"), (ToolCall, '"read"')):
        wanted = sum(isinstance(part, kind) for turn in turns for part in turn.parts)
        encoded = DIALECTS[name].encode_request(asked).decode()
        assert encoded.count(word) >= wanted


Role = Literal["user", "assistant", "system"]
IDS = st.sampled_from(["a", "b", "no good!", "x" * 70])


def said_by(part: Part, role: Role) -> bool:
    return role == ("assistant" if isinstance(part, ToolCall) else "user")


def assert_paired(turns: tuple[Turn, ...]) -> None:
    parts = [(turn.role, part) for turn in turns for part in turn.parts]
    seen: set[str] = set()
    waiting: list[str] = []
    for role, part in parts:
        if isinstance(part, ToolCall):
            assert part.id not in seen
            assert len(part.id) <= 40
            seen.add(part.id)
            waiting.append(part.id)
        elif isinstance(part, ToolResult):
            waiting.remove(part.call_id)
        elif role != "assistant":
            assert not waiting
    assert not waiting


@pytest.mark.parametrize("name", DIALECTS)
def test_a_failed_result_is_told_as_failed(name: str) -> None:
    """The server learns that a tool failed, by a field or in words."""
    turns = (
        *HI,
        Turn("assistant", (ToolCall(id="1", name="read", arguments=""),)),
        Turn("user", (ToolResult(call_id="1", text="no such file", is_error=True),)),
    )
    read = again(name, ask(turns=turns, tools=(READ,)))
    (result,) = [p for turn in read.turns for p in turn.parts if isinstance(p, ToolResult)]
    assert result.is_error or result.text == "error: no such file"


def test_anthropic_gets_the_fields_it_insists_on() -> None:
    """A limit is there without the client's own, roles alternate, no block is blank."""
    turns = (Turn("user", (Text("a"),)), Turn("user", (Text(" \n"), Text("b"))), Turn("user", ()))
    body = sent(ANTHROPIC, ask(turns=turns))
    assert body["max_tokens"] == 8192
    texts = [{"type": "text", "text": text} for text in ("a", "b")]
    assert body["messages"] == [{"role": "user", "content": texts}]


def test_the_user_has_the_first_and_the_last_word_at_anthropic() -> None:
    """A history that begins or ends with the assistant would be refused."""
    turns = (Turn("assistant", (Text("Hello."),)), *HI, Turn("assistant", (Text("Well,"),)))
    messages = sent(ANTHROPIC, ask(turns=turns))["messages"]
    roles = [message["role"] for message in messages]
    assert roles == ["user", "assistant", "user", "assistant", "user"]
    assert messages[0] == messages[-1]


def test_anthropic_has_the_tools_of_a_history_declared() -> None:
    """Calls of the past are refused by the API where no tools are; so they are, uncallable."""
    turns = (*HI, Turn("assistant", (ToolCall(id="1", name="read", arguments="{}"),)))
    body = sent(ANTHROPIC, ask(turns=turns))
    assert body["tools"] == [{"name": "read", "input_schema": {"type": "object"}}]
    assert body["tool_choice"] == {"type": "none"}
    assert again(ANTHROPIC, ask(turns=turns)).turns[-1].parts[0] == ToolResult(
        call_id="1", text="(The tool gave no result.)", is_error=True
    )


def test_any_json_object_is_asked_of_anthropic_in_words() -> None:
    """Where there is no field for it, the system prompt says it, behind the client's own."""
    asked = ask(system="Be brief.", output_format=OutputFormat(kind="json_object"))
    body = sent(ANTHROPIC, asked)
    assert "output_config" not in body
    assert body["system"] == "Be brief.\n\nAnswer with one JSON object and nothing else."


def test_anthropic_gets_schemas_it_supports() -> None:
    """Objects are closed, alternatives named as it knows them, other limits told in words."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "in years"},
            "tags": {"type": "array", "minItems": 2, "items": {"type": "object"}},
            "kind": {"oneOf": [{"const": "a"}, {"type": "null"}]},
        },
    }
    assert supported(schema) == {
        "type": "object",
        "properties": {
            "age": {"type": "integer", "description": 'in years\n\n{"minimum":0}'},
            "tags": {
                "type": "array",
                "items": {"type": "object", "additionalProperties": False},
                "description": '{"minItems":2}',
            },
            "kind": {"anyOf": [{"const": "a"}, {"type": "null"}]},
        },
        "additionalProperties": False,
    }


@pytest.mark.parametrize("name", [CHAT, RESPONSES])
def test_strict_is_asked_only_of_schemas_that_can_be(name: str) -> None:
    """A schema that a strict server would refuse is sent without that demand."""
    open_schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    optional = {**CLOSED_SCHEMA, "required": []}
    nested = {**CLOSED_SCHEMA, "properties": {"name": {"anyOf": [open_schema]}}}
    for schema, strict in (
        (CLOSED_SCHEMA, True),
        (open_schema, False),
        (optional, False),
        (nested, False),
        ({"anyOf": [CLOSED_SCHEMA]}, False),
    ):
        body = sent(name, ask(output_format=OutputFormat(kind="json_schema", schema=schema)))
        place = body["response_format"]["json_schema"] if name == CHAT else body["text"]["format"]
        assert (place["schema"], place["strict"]) == (schema, strict)


@pytest.mark.parametrize("name", [ANTHROPIC, CHAT])
def test_a_custom_tool_is_offered_as_a_function(name: str) -> None:
    """A server that knows only functions gets one of a single string, the grammar in words."""
    (tool,) = again(name, ask(tools=(PATCH,))).tools
    assert (tool.kind, tool.parameters) == ("function", FREE_TEXT)
    assert tool.description == 'The text must follow this lark grammar:\nstart: "x"'


@pytest.mark.parametrize("name", DIALECTS)
def test_foreign_reasoning_is_not_sent(name: str) -> None:
    """A turn of nothing but another model's thoughts is left out: servers refuse those."""
    turns = (*HI, Turn("assistant", (Thinking("hm"),)), *HI)
    assert b"hm" not in DIALECTS[name].encode_request(ask(turns=turns))
    assert spoken(again(name, ask(turns=turns)).turns) == spoken((*HI, *HI))


def test_responses_are_not_stored() -> None:
    """Nothing that was meant for one provider is kept by another."""
    assert sent(RESPONSES, ask())["store"] is False


def test_anthropic_samples_as_it_will() -> None:
    """Settings that newer models refuse are not sent: an answer is worth more."""
    body = sent(ANTHROPIC, ask(sampling=Sampling(temperature=0.5, top_p=0.5, top_k=5, seed=1)))
    assert body.keys() == {"model", "max_tokens", "messages"}


def test_a_tool_without_parameters_has_a_schema() -> None:
    """Every function says that it takes an object."""
    body = sent(ANTHROPIC, ask(tools=(Tool(name="now"), LIST)))
    assert body["tools"][0] == {"name": "now", "input_schema": {"type": "object"}}
