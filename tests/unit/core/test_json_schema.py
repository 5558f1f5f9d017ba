"""Schemas are tried on llguidance itself and judged by the `jsonschema` library."""

from __future__ import annotations

import json
import random
from typing import Any

import llguidance
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from schema_survey import walks

from fallback.core.json_schema import narrowed, outline

A, B = {"required": ["a"]}, {"required": ["b"]}
DRAFT_4 = {"$schema": "http://json-schema.org/draft-04/schema#"}
TEXT, WHOLE = {"type": "string"}, {"type": "integer"}


BYTES = llguidance.LLTokenizer("byte")
WALKER = walks.Walker(BYTES)


def matcher(schema: dict[str, Any]) -> llguidance.LLMatcher:
    return walks.matcher(BYTES, schema)


def admits(schema: dict[str, Any], value: object) -> bool:
    follower = matcher(schema)
    assert not follower.is_error(), follower.get_error()
    return walks.admits(BYTES, follower, value)


def is_valid(schema: dict[str, Any], value: object) -> bool:
    return not walks.Judge(schema).complaint(value)


def told(schema: dict[str, Any]) -> list[str]:
    return [str(each) for each in narrowed(schema).loosened]


def object_of(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"oneOf": [object_of(a=WHOLE) | A, object_of(b=WHOLE) | B]}, {"a": 1}, {"a": 1, "b": 1}),
        ({"oneOf": [TEXT, {"enum": ["x", 1]}]}, "y", "x"),
        ({"oneOf": [{"pattern": "^a"}, {"pattern": "^b"}], **TEXT}, "ax", "cx"),
        (object_of(a=WHOLE, b=WHOLE) | {"oneOf": [A, B]}, {"b": 1}, {"a": 1, "b": 1}),
        (object_of(a=WHOLE, b=WHOLE) | {"not": A}, {"b": 1}, {"a": 1, "b": 1}),
        ({"type": "string", "not": {"enum": ["no", "never"]}}, "not", "never"),
        ({"type": ["string", "null"], "not": TEXT}, None, "x"),
        ({"type": "integer", "not": {"minimum": 5}}, 4, 5),
        (object_of(a=TEXT, b=WHOLE) | {"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": "x"}),
        (
            object_of(a=TEXT, b=WHOLE) | {"dependencies": {"a": B}} | DRAFT_4,
            {"a": "x", "b": 1},
            {"a": "x"},
        ),
        (
            object_of(kind={"enum": ["n", "t"]}, v=True)
            | {"required": ["kind", "v"]}
            | {"if": object_of(kind={"const": "n"}), "then": object_of(v=WHOLE)},
            {"kind": "n", "v": 1},
            {"kind": "n", "v": "x"},
        ),
        ({"type": "object", "propertyNames": {"pattern": "^[a-c]+$"}}, {"ab": 1}, {"x": 1}),
        (object_of(a=WHOLE) | {"propertyNames": {"enum": ["b"]}}, {"b": 1}, {"a": 1}),
        (object_of(a=WHOLE, b=WHOLE) | {"minProperties": 1}, {"b": 1}, {}),
        (object_of(a=WHOLE, b=WHOLE, c=WHOLE) | {"maxProperties": 1}, {"c": 1}, {"a": 1, "b": 1}),
        (
            {"type": "array", "items": {"enum": ["x", "y"]}, "uniqueItems": True},
            ["x", "y"],
            ["x", "x"],
        ),
        ({"type": "array", "items": WHOLE, "contains": {"const": 1}}, [1, 2], []),
        ({"type": "array", "prefixItems": [TEXT], "unevaluatedItems": False}, ["x"], ["x", 1]),
        ({"type": "array", "items": [TEXT], "additionalItems": False} | DRAFT_4, ["x"], ["x", 1]),
        ({"allOf": [object_of(a=WHOLE)], "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
        ({"type": "string", "format": "date"}, "2024-02-29", "2023-02-29"),
        ({"type": "number", "minimum": 3, "exclusiveMinimum": True} | DRAFT_4, 4, 3),
        ({"$ref": "#/$defs/n", "$defs": {"n": {"$anchor": "n", **WHOLE}}}, 1, "x"),
        ({"$ref": "#n", "$defs": {"n": {"$anchor": "n", **WHOLE}}}, 1, "x"),
    ],
)  # fmt: skip
def test_keywords_that_a_grammar_does_not_know(schema: dict[str, Any], good: Any, bad: Any) -> None:
    """What they forbid is refused, what they allow is not, and nothing is let go."""
    assert is_valid(schema, good)
    assert not is_valid(schema, bad)
    found = narrowed(schema)
    assert found.loosened == ()
    assert admits(found.schema, good)
    assert not admits(found.schema, bad)


@pytest.mark.parametrize(
    ("schema", "where"),
    [
        ({"type": "array", "uniqueItems": True, "items": TEXT}, "uniqueItems at #"),
        (object_of(a={"pattern": "^(?!x)", **TEXT}), "pattern at #/properties/a"),
        (object_of(a={"$ref": "https://example.org/other.json"}), "$ref at #/properties/a"),
        (object_of(**{"a/b": {"not": {"pattern": "x+y"}, **TEXT}}), "not at #/properties/a~1b"),
        ({"anyOf": [TEXT, {"format": "regex"}]}, "format at #/anyOf/1"),
        ({"oneOf": [{"pattern": "a"}, {"pattern": "b"}], **TEXT}, "oneOf at #"),
        ({"type": "array", "contains": WHOLE, "maxContains": 2}, "maxContains at #"),
    ],
)
def test_what_is_let_go_is_told(schema: dict[str, Any], where: str) -> None:
    """A keyword that cannot be held to is named with its JSON pointer, and the rest compiles."""
    assert told(schema) == [where]
    assert not matcher(narrowed(schema).schema).is_error()


@pytest.mark.parametrize("detail", [{"format": "color"}, {"title": "x"}, {"x-own": {"not": {}}}])
def test_what_no_validator_minds_is_not_told(detail: dict[str, Any]) -> None:
    """Annotations, formats and keywords that JSON Schema does not know are no constraints."""
    assert told(object_of(a={**TEXT, **detail})) == []


def test_objects_are_closed_where_all_is_said_about_them() -> None:
    """An object that lists its properties gets no others, unless a schema beside it may add."""
    inner = object_of(x=WHOLE)
    schema = object_of(a=inner, b={"allOf": [inner, object_of(y=WHOLE)]})
    found = narrowed(schema).schema
    assert not admits(found, {"a": {"x": 1, "y": 1}})
    assert admits(found, {"b": {"x": 1, "y": 1}})
    assert not admits(found, {"b": {"z": 1}})


def test_a_shared_definition_is_closed_only_where_it_is_whole() -> None:
    """The same definition takes more properties where another schema extends it."""
    base = {"$ref": "#/$defs/base"}
    schema = object_of(plain=base, more={"allOf": [base, object_of(y=WHOLE)]})
    found = narrowed({**schema, "$defs": {"base": object_of(x=WHOLE)}}).schema
    assert admits(found, {"more": {"x": 1, "y": 2}})
    assert not admits(found, {"plain": {"x": 1, "y": 2}})


def test_recursion_stays() -> None:
    """A schema that refers to itself admits values of any depth."""
    tree = object_of(child={"$ref": "#"})
    assert admits(narrowed(tree).schema, {"child": {"child": {}}})


def test_recursion_beside_other_demands_stays() -> None:
    """What a reference means can be joined with more even in the middle of itself."""
    node = object_of(child={"allOf": [{"$ref": "#/$defs/node"}, {"required": ["v"]}]}, v=WHOLE)
    schema = object_of(tree={"$ref": "#/$defs/node"}) | {"$defs": {"node": node}}
    found = narrowed(schema)
    assert found.loosened == ()
    assert admits(found.schema, {"tree": {"child": {"child": {"v": 1}, "v": 1}}})
    assert not admits(found.schema, {"tree": {"child": {}}})


def test_bottomless_schemas_come_to_an_end() -> None:
    """Nesting beyond all sense is let go, and told."""
    schema: dict[str, Any] = WHOLE
    for _ in range(150):
        schema = {"type": "array", "items": schema}
    assert [each.split(" ")[0] for each in told(schema)] == ["depth"]


def test_the_clients_schema_stays_as_it_is() -> None:
    """Rewriting makes a new schema."""
    schema = object_of(a={"oneOf": [TEXT, WHOLE]}) | {"$defs": {"b": {"not": TEXT}}}
    before = json.dumps(schema)
    narrowed(schema)
    assert json.dumps(schema) == before


def test_the_outline_keeps_names_and_types() -> None:
    """For an engine that cannot keep the whole, the first level is left."""
    schema = object_of(a={"type": "array", "items": TEXT}, b={"enum": [1]}) | A
    assert outline(schema) == object_of(a={"type": "array"}, b=True) | A


_values = st.sampled_from([None, True, False, 0, 1, 2.5, "", "a", "ab", [], [1], {}, {"a": 1}])
_names = st.sampled_from(["a", "b", "c"])


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    several = st.lists(inner, min_size=1, max_size=3)
    lists_of_names = st.lists(_names, max_size=2, unique=True)
    small = st.integers(0, 3)
    return st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["string", "integer", "object", "array", ["null", "number"]]),
            "enum": st.lists(_values, min_size=1, max_size=3),
            "properties": st.dictionaries(_names, inner, max_size=3),
            "required": lists_of_names,
            "additionalProperties": inner,
            "dependentRequired": st.dictionaries(_names, lists_of_names, max_size=1),
            "dependentSchemas": st.dictionaries(_names, inner, max_size=1),
            "minProperties": small,
            "maxProperties": small,
            "items": inner,
            "minItems": small,
            "maxItems": small,
            "contains": inner,
            "uniqueItems": st.booleans(),
            "minLength": small,
            "pattern": st.sampled_from(["^a", "^b", "[ab]$"]),
            "minimum": small,
            "exclusiveMaximum": small,
            "oneOf": several,
            "anyOf": several,
            "allOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        },
    ).map(lambda schema: dict(list(schema.items())[:5]))


_schemas = st.recursive(st.booleans() | _keywords(st.booleans()), _keywords, max_leaves=6).filter(
    lambda schema: isinstance(schema, dict)
)


@settings(max_examples=60, deadline=None)
@given(_schemas, st.integers(0, 99))
def test_all_that_is_generated_is_valid(schema: dict[str, Any], seed: int) -> None:
    """Whatever the rewritten schema's grammar admits, the client's schema admits, unless it was
    told otherwise."""
    found = narrowed(schema)
    follower = matcher(found.schema)
    assume(not found.loosened and not follower.is_error())
    text = WALKER.walk(follower, random.Random(seed), 1000)
    assert text is None or is_valid(schema, json.loads(text)), (found.schema, text)


@settings(max_examples=60, deadline=None)
@given(_schemas)
def test_any_schema_is_rewritten(schema: dict[str, Any]) -> None:
    """Every well-formed schema gives one that is well-formed, whatever it asks for."""
    error = matcher(narrowed(schema).schema).get_error()
    assert "Unimplemented" not in error
    assert "not supported" not in error or "circular" in error
