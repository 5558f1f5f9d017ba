"""Keywords of arrays that a grammar cannot count with."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from fallback.core.json_schema import types
from fallback.core.json_schema.scope import Scope, also, without
from fallback.core.json_schema.values import canonical, count, schema_of

_SETS_LIMIT = 128


def without_contains(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`contains` as what the first items have to be."""
    rest = without(schema, "contains", "minContains", "maxContains")
    if "contains" not in schema:
        return rest
    if "maxContains" in schema:
        scope.tell("maxContains")
    least = count(schema.get("minContains", 1)) or 0
    wanted = schema_of(schema["contains"])
    return also(rest, {"prefixItems": [wanted] * least, "minItems": least}) if least else rest


def without_unique(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`uniqueItems` of listed values as the sets of them, in their order."""
    rest = without(schema, "uniqueItems")
    most = count(schema.get("maxItems"))
    if schema.get("uniqueItems") is not True or (most is not None and most < 2):
        return rest
    values = _item_values(schema, scope)
    sets = _sets(values, count(schema.get("minItems")) or 0, most) if values is not None else []
    if not sets:
        scope.tell("uniqueItems")
        return rest
    return also(rest, {"enum": sets})


def without_unevaluated(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`unevaluatedItems` as `items`, where nothing else says what the items are."""
    rest = without(schema, "unevaluatedItems")
    if schema.get("unevaluatedItems", True) is True or "items" in schema:
        return rest
    if not {"allOf", "anyOf", "oneOf", "if", "$ref", "contains"}.isdisjoint(schema):
        scope.tell("unevaluatedItems")
        return rest
    return {**rest, "items": schema["unevaluatedItems"]}


def with_counts(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """Counts as integers; those that are none are let go."""
    counted = dict(schema)
    for key in _COUNTS & schema.keys():
        found = count(schema[key])
        if found is None:
            scope.tell(key)
            del counted[key]
        else:
            counted[key] = found
    return counted


_COUNTS = {"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"}


def _item_values(schema: Mapping[str, Any], scope: Scope) -> list[Any] | None:
    """All values that an item can have, each once; None if nobody can list them."""
    items = schema_of(schema.get("items"))
    if isinstance(items, dict) and "$ref" in items:
        items = scope.document.resolve(items["$ref"]) or True
    if "prefixItems" in schema or isinstance(items, bool):
        return None
    listed = types.listed_values(items)
    if not listed:
        return None
    return list({canonical(value): value for value in listed[0]}.values())


def _sets(values: list[Any], least: int, most: int | None) -> list[list[Any]]:
    """The sets of `values`, small ones first, up to the size that leaves them few."""
    found: list[list[Any]] = []
    for size in range(least, min(len(values), len(values) if most is None else most) + 1):
        of_size = [list(chosen) for chosen in itertools.combinations(values, size)]
        if found and len(found) + len(of_size) > _SETS_LIMIT:
            break
        found += of_size
    return found
