"""The types of values that a schema may admit.

A number is an `integer` or a `fraction`, so that a type is always a set of these.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fallback.core.json_schema.document import Document, Schema
from fallback.core.json_schema.values import is_whole, schemas_of

ALL = frozenset({"null", "boolean", "integer", "fraction", "string", "array", "object"})
NUMBERS = frozenset({"integer", "fraction"})
_BY_NAME = {name: frozenset({name}) for name in ALL - {"fraction"}} | {"number": NUMBERS}


def named(value: object) -> frozenset[str]:
    """The types that the value of a `type` keyword names."""
    names = value if isinstance(value, list) else [value]
    known = [_BY_NAME[name] for name in names if isinstance(name, str) and name in _BY_NAME]
    return frozenset().union(*known)


def names(types: Iterable[str]) -> list[str]:
    """The `type` keyword for a set of types. Fractions alone have no name: they are left out."""
    found = set(types)
    if found >= NUMBERS:
        found = (found - NUMBERS) | {"number"}
    return sorted(found - {"fraction"})


def of_value(value: object) -> frozenset[str]:
    """The type of a JSON value: 1.0 is an integer, as JSON Schema has it."""
    if value is None:
        return _BY_NAME["null"]
    if isinstance(value, bool):
        return _BY_NAME["boolean"]
    if isinstance(value, (int, float)):
        return frozenset({"integer" if is_whole(value) else "fraction"})
    if isinstance(value, str):
        return _BY_NAME["string"]
    return _BY_NAME["array" if isinstance(value, list) else "object"]


def of_schema(schema: Schema, document: Document, fuel: int) -> frozenset[str]:
    """A superset of the types of the values that the schema admits."""
    if isinstance(schema, bool):
        return ALL if schema else frozenset()
    types = named(schema["type"]) if "type" in schema else ALL
    for values in listed_values(schema):
        types &= frozenset().union(*map(of_value, values))
    if fuel <= 0 or not document.spend():
        return types
    for part in schemas_of(schema.get("allOf")):
        types &= of_schema(part, document, fuel - 1)
    for key in ("anyOf", "oneOf"):
        if options := schemas_of(schema.get(key)):
            found = [of_schema(option, document, fuel - 1) for option in options]
            types &= frozenset().union(*found)
    target = document.resolve(schema["$ref"]) if "$ref" in schema else None
    return types if target is None else types & of_schema(target, document, fuel - 1)


def listed_values(schema: Mapping[str, Any]) -> list[list[Any]]:
    """The values of `const` and of `enum`, each where it is there."""
    found = [[schema["const"]]] if "const" in schema else []
    if isinstance(listed := schema.get("enum"), list):
        found.append(listed)
    return found
