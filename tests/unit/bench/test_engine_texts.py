"""What is asked: texts of a length, files to edit, forms to fill in."""

import json

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from engine_peer.cases.claude_code import next_turn, session
from engine_peer.cases.lookup import difference
from engine_peer.cases.structured import is_valid, said
from engine_peer.files import EDITS, Edit
from engine_peer.prompts import filler, story
from engine_peer.reading import Answer, Call
from engine_peer.schemas import FORMS, Form
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(1, 3000), st.integers(0, 10**9))
def test_filler_has_its_length(tokens: int, seed: int) -> None:
    """About four characters a token, whole sentences, the same for the same seed."""
    text = filler(tokens, seed)
    assert text.endswith(".")
    assert text == filler(tokens, seed)
    assert 2.5 * tokens - 60 <= len(text) <= 5.5 * tokens + 60


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_stories_share_no_beginning(one: int, other: int) -> None:
    """Texts of different seeds differ from their first word on."""
    if one != other:
        assert story(100, one).split()[0] != story(100, other).split()[0]


@pytest.mark.parametrize("edit", EDITS)
def test_edit(edit: Edit) -> None:
    """Both changes are possible and leave a trace: the expected file differs from those shown."""
    first, shown, _ = (turn["content"] for turn in edit.turns())
    assert edit.file in first
    assert shown != edit.expected()
    assert edit.wanted.new in edit.expected()
    assert edit.made.new in shown


@pytest.mark.parametrize(
    ("drafted", "told"),
    [("one two", "'hree' after 5 characters, with them 'wo'"), ("one", "after 3 characters")],
)
def test_difference(drafted: str, told: str) -> None:
    """The first place where two texts differ is told, also where one only ends earlier."""
    assert told in difference("one three", drafted)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_form(form: Form) -> None:
    """Each form is a JSON Schema that an empty object does not satisfy."""
    jsonschema.Draft202012Validator.check_schema(form.schema)
    assert not is_valid("{}", form.schema)
    assert not is_valid('{"cut', form.schema)


def test_what_has_to_be_valid() -> None:
    """The arguments of exactly one call of the right name, or the text of the answer."""
    form = FORMS[0]
    assert said(_answer("{}"), form, "schema") == "{}"
    assert said(_answer("", Call(form.name, "[]")), form, "tool") == "[]"
    assert said(_answer("", Call("other", "[]")), form, "tool") == ""
    assert said(_answer("", *2 * (Call(form.name, "[]"),)), form, "tool") == ""


def test_sessions_differ_at_once() -> None:
    """A session is the captured turn under other first words."""
    body = {"model": "m", "system": [{"type": "text", "text": "Be."}], "messages": []}
    one, other = session(body, 1), session(body, 2)
    assert one["system"][0] != other["system"][0]
    assert one["system"][1:] == body["system"]


def test_next_turn() -> None:
    """Every call of the answer has its result, a broken one's arguments are left out."""
    answer = _answer("Let me see.", Call("look", '{"a": 1}'), Call("go", '{"b'))
    *before, said_, asked = next_turn({"messages": ["first"]}, answer)["messages"]
    assert before == ["first"]
    assert [part.get("input") for part in said_["content"]] == [None, {"a": 1}, {}]
    ids = [part["id"] for part in said_["content"][1:]]
    assert [part.get("tool_use_id") for part in asked["content"]] == [*ids, None]
    json.dumps(asked)


def _answer(text: str, *calls: Call) -> Answer:
    return Answer(
        asked_at=0.0,
        content_at=(1.0,),
        ended_at=1.0,
        text=text,
        calls=calls,
        finish_reason="stop",
        prompt_tokens=1,
        cached_tokens=0,
        output_tokens=1,
    )
