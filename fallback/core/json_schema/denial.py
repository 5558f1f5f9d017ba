"""Schemas for what another schema does not admit.

JSON Schema's `not` has no counterpart in a grammar, so it is turned into what may be there
instead. The result admits only values that the schema refuses, but seldom all of those; `False`
where nothing can be said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fallback.core.json_schema import types
from fallback.core.json_schema.document import Document, Schema
from fallback.core.json_schema.strings import all_strings_but
from fallback.core.json_schema.values import (
    count,
    named_schemas,
    number,
    schemas_of,
    strings,
)

_FUEL = 6
_LISTED_LIMIT = 100


def denied(schema: Schema, document: Document, fuel: int = _FUEL) -> Schema:
    """A schema that admits nothing that `schema` admits."""
    if isinstance(schema, bool):
        return not schema
    if fuel <= 0 or not document.spend():
        return False
    return any_of(_ways_out(schema, document, fuel - 1))


def any_of(options: Iterable[Schema]) -> Schema:
    """What one of the options admits."""
    useful = [option for option in options if option is not False]
    if len(useful) == 1:
        return useful[0]
    return {"anyOf": useful} if useful else False


def all_of(parts: Iterable[Schema]) -> Schema:
    """What all of the parts admit."""
    needed = [part for part in parts if part is not True]
    if False in needed:
        return False
    if len(needed) == 1:
        return needed[0]
    return {"allOf": needed} if needed else True


def _ways_out(schema: Mapping[str, Any], document: Document, fuel: int) -> Iterator[Schema]:
    """One schema for each keyword by which a value can be refused."""
    if "type" in schema:
        yield _of_types(types.ALL - types.named(schema["type"]))
    for values in types.listed_values(schema):
        yield any_of(_not_listed(values))
    for key, way_out in _BOUNDS.items():
        yield way_out(schema.get(key))
    for name in strings(schema.get("required")):
        yield {"type": "object", "properties": {name: False}}
    for name, inner in named_schemas(schema, "properties").items():
        if (other := denied(inner, document, fuel)) is not False:
            yield {"type": "object", "properties": {name: other}, "required": [name]}
    if isinstance(items := schema.get("items"), dict):
        other = denied(items, document, fuel)
        yield other is not False and {"type": "array", "prefixItems": [other], "minItems": 1}
    yield from _out_of_parts(schema, document, fuel)


def _out_of_parts(schema: Mapping[str, Any], document: Document, fuel: int) -> Iterator[Schema]:
    for part in schemas_of(schema.get("allOf")):
        yield denied(part, document, fuel)
    for key in ("anyOf", "oneOf"):
        if options := schemas_of(schema.get(key)):
            yield all_of(denied(option, document, fuel) for option in options)
    if isinstance(inner := schema.get("not"), (dict, bool)):
        yield inner
    if (target := document.resolve(schema.get("$ref"))) is not None:
        yield denied(target, document, fuel)


def _of_types(found: frozenset[str]) -> Schema:
    names = types.names(found)
    return {"type": names} if names else False


def _not_listed(values: list[Any]) -> Iterator[Schema]:
    found = frozenset().union(*map(types.of_value, values))
    # 1.0 is an integer, so numbers are left out as soon as one is listed.
    yield _of_types(types.ALL - found - (types.NUMBERS if found & types.NUMBERS else frozenset()))
    if (texts := [value for value in values if isinstance(value, str)]) and (
        len(texts) <= _LISTED_LIMIT
    ):
        yield {"type": "string", "pattern": all_strings_but(texts)}
    if found & types.NUMBERS:
        numbers = [value for value in values if number(value) is not None]
        yield {"type": "number", "exclusiveMaximum": min(numbers)}
        yield {"type": "number", "exclusiveMinimum": max(numbers)}
    if "boolean" in found:
        yield from ({"const": value} for value in (True, False) if value not in _booleans(values))


def _booleans(values: list[Any]) -> list[bool]:
    return [value for value in values if isinstance(value, bool)]


def _beyond(type_name: str, key: str, step: int) -> Callable[[object], Schema]:
    """The way out of a bound that counts: one more, or one less, than it allows."""

    def way_out(bound: object) -> Schema:
        found = count(bound)
        return found is not None and found + step >= 0 and {"type": type_name, key: found + step}

    return way_out


def _past(key: str) -> Callable[[object], Schema]:
    def way_out(bound: object) -> Schema:
        return number(bound) is not None and {"type": "number", key: bound}

    return way_out


_BOUNDS: Mapping[str, Callable[[object], Schema]] = {
    "minLength": _beyond("string", "maxLength", -1),
    "maxLength": _beyond("string", "minLength", 1),
    "minItems": _beyond("array", "maxItems", -1),
    "maxItems": _beyond("array", "minItems", 1),
    "minProperties": _beyond("object", "maxProperties", -1),
    "maxProperties": _beyond("object", "minProperties", 1),
    "minimum": _past("exclusiveMaximum"),
    "maximum": _past("exclusiveMinimum"),
    "exclusiveMinimum": _past("maximum"),
    "exclusiveMaximum": _past("minimum"),
}
