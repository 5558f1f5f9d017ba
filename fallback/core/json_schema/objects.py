"""Keywords of objects: names, numbers of properties, and closing what a schema leaves open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from typing import Any

from fallback.core.json_schema import types
from fallback.core.json_schema.choices import with_any_of
from fallback.core.json_schema.document import Document, Schema
from fallback.core.json_schema.parts import all_names
from fallback.core.json_schema.scope import Scope, also, without
from fallback.core.json_schema.strings import is_usable_pattern, matches
from fallback.core.json_schema.values import (
    count,
    named_schemas,
    schema_of,
    schemas_of,
    strings,
)

_ABOUT = {
    "$dynamicRef", "$recursiveRef", "$ref", "additionalProperties", "allOf", "anyOf",
    "maxProperties", "minProperties", "patternProperties", "properties", "propertyNames",
    "required",
}  # fmt: skip
# What a schema of names can ask of them: they are strings in any case.
_OF_NAMES = {
    "$ref", "allOf", "anyOf", "const", "enum", "format", "if", "maxLength", "minLength", "not",
    "oneOf", "pattern",
}  # fmt: skip
_OPTIONS_LIMIT = 32


def said_in_one_place(schema: Mapping[str, Any]) -> bool:
    """Whether one schema in place, or one of several, says all that there is about an object."""
    about = _ABOUT & schema.keys()
    return (
        about <= {"anyOf"}
        or about == {"$ref"}
        or (about == {"allOf"} and len(schemas_of(schema["allOf"])) == 1)
    )


def closed(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """An object that lists its properties gets no others, so that a small model does not go on
    inventing, and what must follow can be written in one go."""
    must = schema.get("unevaluatedProperties", True) is not True
    rest = without(schema, "unevaluatedProperties")
    if not must and (not scope.closes or said_in_one_place(rest)):
        return rest
    if "additionalProperties" in schema:
        return rest
    names = all_names(rest, scope.document)
    if names is None:
        if must:
            scope.tell("unevaluatedProperties")
        return rest
    if must and not {"anyOf", "oneOf", "if", "dependentSchemas"}.isdisjoint(schema):
        scope.tell("unevaluatedProperties")
    listed = {**dict.fromkeys(names, True), **named_schemas(rest, "properties")}
    in_order = named_schemas(rest, "properties") | listed
    return {**rest, "properties": in_order, "additionalProperties": False}


def with_known_patterns(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`patternProperties` without patterns that the engine would refuse: nothing is lost where
    other properties are forbidden anyway."""
    patterns = named_schemas(schema, "patternProperties")
    known = {each: inner for each, inner in patterns.items() if is_usable_pattern(each)}
    if len(known) == len(patterns):
        return dict(schema)
    if schema.get("additionalProperties") is not False:
        scope.tell("patternProperties")
    rest = without(schema, "patternProperties")
    return {**rest, "patternProperties": known} if known else rest


def without_property_names(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`propertyNames` as patterns of the other properties' names."""
    rest = without(schema, "propertyNames")
    names = _target(schema_of(schema.get("propertyNames")), scope.document)
    if isinstance(names, bool):
        return rest if names else {**rest, "maxProperties": 0}
    if not (keys := names.keys() & _OF_NAMES):
        return rest
    pattern, listed = _name_pattern(names, keys), named_schemas(schema, "properties")
    kept = {name: _may_be(name, names) for name in listed}
    if pattern is None or None in kept.values() or "patternProperties" in schema:
        scope.tell("propertyNames")
        return rest
    others = {pattern: schema_of(schema.get("additionalProperties"))}
    properties = {name: inner if kept[name] else False for name, inner in listed.items()}
    known = {"properties": properties} if properties else {}
    return {**rest, **known, "patternProperties": others, "additionalProperties": False}


def _target(schema: Schema, document: Document) -> Schema:
    if isinstance(schema, dict) and "$ref" in schema:
        return document.resolve(schema["$ref"]) or True
    return schema


def _name_pattern(names: Mapping[str, Any], keys: Set[str]) -> str | None:
    """The pattern that says the same as a schema of names; None where none does."""
    if keys == {"pattern"} and isinstance(pattern := names["pattern"], str):
        return pattern
    if keys <= {"minLength", "maxLength"}:
        least, most = count(names.get("minLength")) or 0, count(names.get("maxLength"))
        return rf"^(?:.|\n){{{least},{'' if most is None else most}}}$"
    if keys == {"enum"} or keys == {"const"}:
        allowed = [text for text in types.listed_values(names)[0] if isinstance(text, str)]
        return f"^(?:{'|'.join(map(re.escape, allowed))})$"
    return None


def _may_be(name: str, names: Mapping[str, Any]) -> bool | None:
    """Whether a property may have this name; None where nobody can tell."""
    if "pattern" in names:
        return matches(str(names["pattern"]), name)
    least, most = count(names.get("minLength")) or 0, count(names.get("maxLength"))
    listed = all(name in values for values in types.listed_values(names))
    return listed and least <= len(name) and (most is None or len(name) <= most)


def with_property_counts(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`minProperties` and `maxProperties` of objects that list optional properties: a grammar
    counts only those that are not listed."""
    listed, required = named_schemas(schema, "properties"), strings(schema.get("required"))
    optional = [name for name in listed if name not in required and listed[name] is not False]
    least, most = count(schema.get("minProperties")), count(schema.get("maxProperties"))
    needed = len(set(required))
    missing = 0 if least is None else least - needed
    if not optional or (least is None and most is None):
        if missing > 1 and _has_others(schema):
            # The same name twice counts as two here, as one to who reads it.
            scope.tell("minProperties")
        return dict(schema)
    rest = without(schema, "minProperties", "maxProperties")
    if most is not None and most - needed == 1 and 1 < len(optional) <= _OPTIONS_LIMIT:
        return _with_just_one(rest, optional, must=missing > 0)
    if most is not None:
        rest = _with_at_most(rest, optional, most - needed)
        optional = optional[: max(0, most - needed)]
    return _with_at_least(rest, optional, missing, scope)


def _has_others(schema: Mapping[str, Any]) -> bool:
    return schema.get("additionalProperties") is not False or "patternProperties" in schema


def _with_just_one(schema: Mapping[str, Any], optional: list[str], *, must: bool) -> dict[str, Any]:
    """Only listed properties, and at most one of the optional ones."""
    rest = {**without(schema, "patternProperties"), "additionalProperties": False}
    options: list[Schema] = []
    for name in optional:
        others = {other: False for other in optional if other != name}
        options.append({"properties": others, "required": [name] if must else []})
    return with_any_of(rest, options)


def _with_at_most(schema: Mapping[str, Any], optional: list[str], room: int) -> dict[str, Any]:
    """Only listed properties, and of the optional ones the first `room`."""
    rest = {**without(schema, "patternProperties"), "additionalProperties": False}
    gone = dict.fromkeys(optional[max(0, room) :], False)
    return {**rest, "properties": {**schema["properties"], **gone}}


def _with_at_least(
    schema: dict[str, Any], optional: list[str], missing: int, scope: Scope
) -> dict[str, Any]:
    if missing <= 0:
        return schema
    if missing == 1 and len(optional) <= _OPTIONS_LIMIT:
        return with_any_of(schema, [{"required": [name]} for name in optional])
    if missing > len(optional):
        scope.tell("minProperties")
        missing = len(optional)
    return also(schema, {"required": optional[:missing]})
