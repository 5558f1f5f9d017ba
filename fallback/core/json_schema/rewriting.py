"""The walk over a schema: every keyword that a grammar does not know becomes some that it does.

Each step takes one schema object and gives it back without its keywords. Steps that decide
between schemas come first: what they leave is still the client's vocabulary, and is rewritten in
its turn. Schemas that are referred to are rewritten once for each way they are used (see
`Scope.closes`), under `$defs`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fallback.core.json_schema import arrays, choices, objects, texts, types
from fallback.core.json_schema.document import Document, Schema
from fallback.core.json_schema.parts import described_in_parts
from fallback.core.json_schema.scope import Loosened, Scope, also, without
from fallback.core.json_schema.values import (
    named_schemas,
    number,
    schema_of,
    schemas_of,
    strings,
)

_DEPTH_LIMIT = 60
_STEPS: tuple[Callable[[Mapping[str, Any], Scope], dict[str, Any]], ...] = (
    choices.without_dependencies,
    choices.without_condition,
    choices.without_one_of,
    choices.without_not,
    texts.with_known_text,
    arrays.with_counts,
    arrays.without_contains,
    arrays.without_unique,
    arrays.without_unevaluated,
    objects.with_known_patterns,
    objects.closed,
    objects.without_property_names,
    objects.with_property_counts,
)
_KEPT = (
    "type", "enum", "const", "minLength", "maxLength", "pattern", "format", "minItems", "maxItems",
    "minProperties", "maxProperties",
)  # fmt: skip
_OPEN_BOUNDS = {"exclusiveMinimum": "minimum", "exclusiveMaximum": "maximum"}
_BOUNDS = ("minimum", "maximum", "multipleOf", *_OPEN_BOUNDS)
_REFERENCES = ("$ref", "$recursiveRef", "$dynamicRef")
_IN_PLACE = {"allOf", "anyOf", *_REFERENCES}
_CHOOSING = {"allOf", "anyOf", "oneOf", "not", "if", "dependencies", "dependentSchemas", "$ref"}
# Up to draft 7 whatever stands beside a `$ref` is ignored.
_OLD_DRAFT = re.compile(r"draft-0[3-7]")


class Rewriting:
    """One document on its way. `loosened` keeps the order in which keywords were let go."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.loosened: dict[Loosened, None] = {}
        self._document = Document(root)
        self._names: dict[tuple[int, bool], str] = {}
        self._definitions: dict[str, Any] = {}
        self._pending: list[tuple[str, Schema, bool]] = []
        self._refers_alone = bool(_OLD_DRAFT.search(str(root.get("$schema", ""))))

    def __repr__(self) -> str:
        return f"<Rewriting definitions={len(self._definitions)} loosened={len(self.loosened)}>"

    def run(self) -> dict[str, Any]:
        """The rewritten schema, with the definitions that it needs."""
        scope = Scope(document=self._document, pointer="", closes=True, loosened=self.loosened)
        root = self._schema(self._document.root, scope, 0)
        while self._pending:
            name, target, closes = self._pending.pop()
            self._definitions[name] = self._inside(target, scope, 0, closes=closes)
        rewritten = root if isinstance(root, dict) else {"allOf": [root]}
        return {**rewritten, "$defs": self._definitions} if self._definitions else rewritten

    def _schema(self, schema: Schema, scope: Scope, depth: int) -> Schema:
        if isinstance(schema, bool):
            return schema
        if depth > _DEPTH_LIMIT:
            scope.tell("depth")
            return True
        if "$ref" in schema and self._refers_alone:
            schema = {"$ref": schema["$ref"]}
        for step in _STEPS:
            schema = step(schema, scope)
        if not objects.said_in_one_place(schema):
            schema = _with_bodies(schema, scope)
        parts = (
            kept_values(schema, scope),
            self._objects(schema, scope, depth + 1),
            self._arrays(schema, scope, depth + 1),
            self._reference(schema, scope),
            self._choices(schema, scope, depth + 1),
        )
        return {key: value for part in parts for key, value in part.items()}

    def _inside(self, schema: Schema, scope: Scope, depth: int, *, closes: bool) -> Schema:
        return self._schema(schema, scope.inside(schema, closes=closes), depth)

    def _value(self, schema: Schema, scope: Scope, depth: int, *, closes: bool) -> Schema:
        """The schema of a value inside; of one that may hold itself, by name."""
        if isinstance(schema, bool) or not (_CHOOSING & schema.keys()):
            return self._inside(schema, scope, depth, closes=closes)
        if not scope.document.recurs(schema):
            return self._inside(schema, scope, depth, closes=closes)
        return {"$ref": f"#/$defs/{self._name(schema, closes=closes)}"}

    def _objects(self, schema: Mapping[str, Any], scope: Scope, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        elsewhere = described_in_parts(schema, scope.document) if scope.closes else None
        if "properties" in schema:
            found["properties"] = {
                name: self._value(
                    inner, scope, depth, closes=elsewhere is not None and name not in elsewhere
                )
                for name, inner in named_schemas(schema, "properties").items()
            }
        closes = elsewhere is not None and not elsewhere
        if "patternProperties" in schema:
            found["patternProperties"] = {
                pattern: self._value(inner, scope, depth, closes=closes)
                for pattern, inner in named_schemas(schema, "patternProperties").items()
            }
        if "additionalProperties" in schema:
            others = schema_of(schema["additionalProperties"])
            found["additionalProperties"] = self._value(others, scope, depth, closes=closes)
        if required := strings(schema.get("required")):
            found["required"] = required
        return found

    def _arrays(self, schema: Mapping[str, Any], scope: Scope, depth: int) -> dict[str, Any]:
        first, others = schema.get("prefixItems"), schema.get("items")
        if isinstance(others, list):
            first, others = others, schema.get("additionalItems")
        closes = scope.closes and _IN_PLACE.isdisjoint(schema)
        found: dict[str, Any] = {}
        if isinstance(first, list) and first:
            found["prefixItems"] = [
                self._value(schema_of(item), scope, depth, closes=closes) for item in first
            ]
        if others is not None:
            found["items"] = self._value(schema_of(others), scope, depth, closes=closes)
        return found

    def _reference(self, schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
        key = next((key for key in _REFERENCES if key in schema), None)
        if key is None:
            return {}
        target = scope.document.resolve(schema[key])
        if target is None:
            scope.tell(key)
            return {}
        closes = scope.closes and objects.said_in_one_place(schema)
        return {"$ref": f"#/$defs/{self._name(target, closes=closes)}"}

    def _name(self, target: Schema, *, closes: bool) -> str:
        key = (id(target), closes)
        if key not in self._names:
            self._names[key] = f"d{len(self._names)}"
            self._pending.append((self._names[key], target, closes))
        return self._names[key]

    def _choices(self, schema: Mapping[str, Any], scope: Scope, depth: int) -> dict[str, Any]:
        closes = scope.closes and objects.said_in_one_place(schema)
        return {
            key: [self._inside(part, scope, depth, closes=closes) for part in parts]
            for key in ("anyOf", "allOf")
            if (parts := schemas_of(schema.get(key)))
        }


def _with_bodies(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The schema with what recursive references in place mean: the engine cannot join with
    another schema a definition that it is still in the middle of."""
    found = dict(schema)
    if "$ref" in schema and _body({"$ref": schema["$ref"]}, scope).keys() != {"$ref"}:
        found = also(without(schema, "$ref"), {"$ref": schema["$ref"]})
    for key in ("anyOf", "allOf"):
        if key in found:
            parts = schemas_of(found[key])
            found[key] = [each if isinstance(each, bool) else _body(each, scope) for each in parts]
    return found


def _body(part: Mapping[str, Any], scope: Scope) -> Mapping[str, Any]:
    """What a bare reference means, if that is recursive; else the part as it is."""
    if part.keys() != {"$ref"}:
        return part
    target = scope.document.resolve(part["$ref"])
    if isinstance(target, dict) and scope.document.recurs(target) and scope.document.spend():
        return target
    return part


def kept_values(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """The keywords about single values, those of them that are what they should be."""
    found = {key: schema[key] for key in _KEPT if key in schema}
    if "type" in schema and not types.named(schema["type"]):
        scope.tell("type")
        del found["type"]
    for key in _BOUNDS:
        if key not in schema:
            continue
        bound = _bound(schema, key)
        if bound is not None:
            found[key] = bound
        elif not isinstance(schema[key], bool):
            scope.tell(key)
    return found


def _bound(schema: Mapping[str, Any], key: str) -> float | None:
    """A bound of numbers. Up to draft 4 an open one was a flag beside the closed one."""
    if schema[key] is True and key in _OPEN_BOUNDS:
        return number(schema.get(_OPEN_BOUNDS[key]))
    bound = number(schema[key])
    return None if key == "multipleOf" and bound is not None and bound <= 0 else bound
