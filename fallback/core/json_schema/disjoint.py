"""Whether two schemas admit no value in common. `False` means: not that this can see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fallback.core.json_schema import types
from fallback.core.json_schema.document import Document, Schema
from fallback.core.json_schema.strings import literal_beginning, matches
from fallback.core.json_schema.values import (
    canonical,
    named_schemas,
    number,
    schema_of,
    schemas_of,
    strings,
)

# Their forms have nothing in common.
_FORMATS = frozenset({"date", "date-time", "duration", "email", "ipv4", "ipv6", "time", "uuid"})
_FUEL = 6


def disjoint(
    one: Schema,
    other: Schema,
    document: Document,
    fuel: int = _FUEL,
    among: frozenset[str] = types.ALL,
) -> bool:
    """Whether no value of the types `among` is admitted by both. `fuel` bounds how deep it
    looks."""
    if fuel <= 0 or not document.spend():
        return False
    common = among & types.of_schema(one, document, fuel) & types.of_schema(other, document, fuel)
    if not common:
        return True
    if isinstance(one, bool) or isinstance(other, bool):
        return False
    return (
        _no_value_in_common(one, other)
        or _by_parts(one, other, document, fuel - 1, common)
        or _by_parts(other, one, document, fuel - 1, common)
        or (common == {"object"} and _by_property(one, other, document, fuel - 1))
        or (common == {"string"} and _by_text(one, other))
        or (common == {"array"} and _by_items(one, other, document, fuel - 1))
        or (common <= types.NUMBERS and _apart(one, other, "minimum", "maximum"))
    )


def _no_value_in_common(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    theirs = [set(map(canonical, values)) for values in types.listed_values(other)]
    for values in types.listed_values(one):
        if any(keys.isdisjoint(map(canonical, values)) for keys in theirs):
            return True
    return False


def _by_parts(
    whole: Mapping[str, Any], other: Schema, document: Document, fuel: int, among: frozenset[str]
) -> bool:
    """Whether `whole` is apart from `other` by one of the schemas that it is made of."""

    def apart(part: Schema) -> bool:
        return disjoint(part, other, document, fuel, among)

    if any(map(apart, schemas_of(whole.get("allOf")))):
        return True
    for key in ("anyOf", "oneOf"):
        if (options := schemas_of(whole.get(key))) and all(map(apart, options)):
            return True
    target = document.resolve(whole["$ref"]) if "$ref" in whole else None
    return target is not None and apart(target)


def _by_property(
    one: Mapping[str, Any], other: Mapping[str, Any], document: Document, fuel: int
) -> bool:
    needed = {*strings(one.get("required")), *strings(other.get("required"))}
    room = min(number(schema.get("maxProperties", len(needed))) or 0 for schema in (one, other))
    if len(needed) > room or _apart(one, other, "minProperties", "maxProperties"):
        return True
    return any(
        disjoint(_property(one, name), _property(other, name), document, fuel) for name in needed
    )


def _property(schema: Mapping[str, Any], name: str) -> Schema:
    properties = schema.get("properties")
    if isinstance(properties, dict) and name in properties:
        return schema_of(properties[name])
    patterns = named_schemas(schema, "patternProperties")
    if any(matches(pattern, name) is not False for pattern in patterns):
        return True
    return schema_of(schema.get("additionalProperties"))


def _by_text(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    formats = {one.get("format"), other.get("format")}
    return (
        (len(formats) == 2 and formats <= _FORMATS)
        or _apart(one, other, "minLength", "maxLength")
        or _by_beginning(one.get("pattern"), other.get("pattern"))
        or _none_matches(one, other.get("pattern"))
        or _none_matches(other, one.get("pattern"))
    )


def _by_beginning(one: object, other: object) -> bool:
    if not isinstance(one, str) or not isinstance(other, str):
        return False
    first, second = literal_beginning(one), literal_beginning(other)
    return not first.startswith(second) and not second.startswith(first)


def _none_matches(schema: Mapping[str, Any], pattern: object) -> bool:
    if not isinstance(pattern, str):
        return False
    return any(
        all(not isinstance(text, str) or matches(pattern, text) is False for text in values)
        for values in types.listed_values(schema)
    )


def _by_items(
    one: Mapping[str, Any], other: Mapping[str, Any], document: Document, fuel: int
) -> bool:
    if _apart(one, other, "minItems", "maxItems"):
        return True
    filled = any(number(schema.get("minItems")) or 0 for schema in (one, other))
    return filled and disjoint(_first_item(one), _first_item(other), document, fuel)


def _first_item(schema: Mapping[str, Any]) -> Schema:
    for key in ("prefixItems", "items"):
        if isinstance(found := schema.get(key), list) and found:
            return schema_of(found[0])
    items = schema.get("items")
    return schema_of(items)


def _apart(one: Mapping[str, Any], other: Mapping[str, Any], least: str, most: str) -> bool:
    return _over(one, other, least, most) or _over(other, one, least, most)


def _over(upper: Mapping[str, Any], lower: Mapping[str, Any], least: str, most: str) -> bool:
    bottom, top = number(upper.get(least)), number(lower.get(most))
    if bottom is not None and top is not None and bottom > top:
        return True
    open_bottom = number(upper.get("exclusiveMinimum")) if least == "minimum" else None
    open_top = number(lower.get("exclusiveMaximum")) if most == "maximum" else None
    return (open_bottom is not None and top is not None and open_bottom >= top) or (
        open_top is not None and bottom is not None and bottom >= open_top
    )
