"""The schemas that together speak of one value: the schema itself, and those in place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from fallback.core.json_schema.document import Document, Schema
from fallback.core.json_schema.values import named_schemas, schema_of, schemas_of, strings

# What says of itself which other properties there are.
_OPEN = (
    "additionalProperties", "patternProperties", "propertyNames", "$dynamicRef", "$recursiveRef",
)  # fmt: skip
_FUEL = 8


def all_names(schema: Mapping[str, Any], document: Document) -> list[str] | None:
    """The names of all properties that are spoken of; None if there may be others, or none
    are listed anywhere."""
    parts = list(_parts(schema, document, _FUEL))
    known = [part for part in parts if part is not None]
    if len(known) < len(parts) or not any("properties" in part for part in known):
        return None
    names: dict[str, None] = {}
    for part in known:
        names |= dict.fromkeys(named_schemas(part, "properties"))
        names |= dict.fromkeys(strings(part.get("required")))
    return list(names)


def described_in_parts(schema: Mapping[str, Any], document: Document) -> set[str] | None:
    """The properties whose values are described by more than `properties` itself, that is by
    schemas in place; None if these may describe any."""
    around = {key: schema[key] for key in ("allOf", "anyOf", "$ref") if key in schema}
    parts = list(_parts(around, document, _FUEL))
    if None in parts:
        return None
    return {
        name
        for part in parts
        for name, inner in named_schemas(part or {}, "properties").items()
        if not isinstance(inner, bool)
    }


def property_names(schema: Schema, document: Document) -> list[str]:
    """The properties that a schema, or one in place, describes; perhaps not all."""
    parts = (part or {} for part in _parts(schema, document, _FUEL))
    return list(dict.fromkeys(name for part in parts for name in named_schemas(part, "properties")))


def _parts(schema: Schema, document: Document, fuel: int) -> Iterator[Mapping[str, Any] | None]:
    """All schemas that speak of the same object; None for one that leaves it open."""
    if isinstance(schema, bool):
        return
    # Within a part `additionalProperties: false` closes that part: its names are all there are.
    inner = fuel < _FUEL and schema.get("additionalProperties") is False
    opens = any(key in schema for key in _OPEN[inner:])
    if opens or fuel <= 0 or not document.spend():
        yield None
    if fuel <= 0:
        return
    yield schema
    for part in _in_place(schema, document):
        yield from _parts(part, document, fuel - 1)


def _in_place(schema: Mapping[str, Any], document: Document) -> Iterator[Schema]:
    for key in ("allOf", "anyOf", "oneOf"):
        yield from schemas_of(schema.get(key))
    for key in ("if", "then", "else"):
        if key in schema:
            yield schema_of(schema[key])
    for key in ("dependentSchemas", "dependencies"):
        yield from named_schemas(schema, key).values()
    if "$ref" in schema:
        target = document.resolve(schema["$ref"])
        # What is not known may add any property.
        yield {"propertyNames": True} if target is None else target
