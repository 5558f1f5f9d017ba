from __future__ import annotations

import json
from typing import Any

import llguidance
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.schema_order import in_order_of

TRIP: dict[str, Any] = {
    "type": "object",
    "properties": {
        "note": {"type": "string"},
        "city": {"type": "string"},
        "stops": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            },
        },
        "at": {"type": "object", "properties": {"x": {}, "y": {}}},
    },
    "required": ["city"],
}


def names(text: str) -> list[str]:
    return list(in_order_of(text, TRIP)["properties"])


@pytest.mark.parametrize(
    ("text", "order"),
    [
        ("", ["note", "city", "stops", "at"]),
        ("{", ["note", "city", "stops", "at"]),
        ('{"city": "U', ["city", "note", "stops", "at"]),
        ('{"city": "a, \\"b\\": {", "stops', ["city", "stops", "note", "at"]),
        ('{"at":{"y":1},"st', ["at", "stops", "note", "city"]),
        ('{"unknown": 1, "ci', ["city", "note", "stops", "at"]),
        ("not json ]}", ["note", "city", "stops", "at"]),
    ],
)
def test_names_that_came_first_stand_first(text: str, order: list[str]) -> None:
    """The names of the text lead, an unfinished one too; the others follow as they stood."""
    assert names(text) == order


def test_values_inside_are_ordered_too() -> None:
    """Objects in objects and in arrays have their own orders."""
    found = in_order_of('{"stops": [{"b": 1, "a": 2}, {"b"', TRIP)["properties"]
    assert list(found["stops"]["items"]["properties"]) == ["b", "a"]
    found = in_order_of('{"city": "x", "at": {"y', TRIP)["properties"]
    assert list(found["at"]["properties"]) == ["y", "x"]


@given(st.permutations(["note", "city", "stops", "at"]), st.permutations(["a", "b"]), st.data())
def test_any_order_can_be_gone_on_with(
    outer: list[str], inner: list[str], data: st.DataObject
) -> None:
    """However the properties are ordered and wherever the text is cut, a grammar of the ordered
    schema admits the beginning."""
    stop = dict.fromkeys(inner, 1)
    values = {"note": "n", "city": "c", "stops": [stop, stop], "at": {"y": 1, "x": 2}}
    text = json.dumps({name: values[name] for name in outer})
    begun = text[: data.draw(st.integers(0, len(text)))]
    tokenizer = llguidance.LLTokenizer("byte")
    schema = {**in_order_of(begun, TRIP), "x-guidance": {"whitespace_pattern": " ?"}}
    matcher = llguidance.LLMatcher(tokenizer, f"start: %json {json.dumps(schema)}\n", log_level=0)
    assert matcher.consume_tokens(tokenizer.tokenize_str(begun)), matcher.get_error()
