"""Keywords that choose between schemas, as options that exclude each other.

`anyOf` is all that a grammar has. So an option of `oneOf` is kept only together with what none
of the others admits, and `if` becomes two options, of which the second denies the condition.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

from fallback.core.json_schema.denial import all_of, any_of, denied
from fallback.core.json_schema.disjoint import disjoint
from fallback.core.json_schema.document import Schema
from fallback.core.json_schema.parts import property_names
from fallback.core.json_schema.scope import Scope, also, without
from fallback.core.json_schema.values import schema_of, schemas_of

_OPTIONS_LIMIT = 60
_WAYS_LIMIT = 3


def without_not(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`not` as what may be there instead."""
    if "not" not in schema:
        return dict(schema)
    rest = without(schema, "not")
    refused = schema_of(schema["not"])
    other = _possible(rest, denied(refused, scope.document), scope)
    if other is False and refused not in (True, {}):
        scope.tell("not")
        return rest
    return also(rest, other)


def without_one_of(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`oneOf` as options of which no two admit the same value."""
    if "oneOf" not in schema:
        return dict(schema)
    rest, options = without(schema, "oneOf"), schemas_of(schema["oneOf"])
    alone = [_alone(i, options, rest, scope) for i in range(len(options))]
    if len(options) > _OPTIONS_LIMIT or all(option is False for option in alone):
        scope.tell("oneOf")
        alone = options
    return with_any_of(rest, [option for option in alone if option is not False])


def _alone(index: int, options: list[Schema], rest: Mapping[str, Any], scope: Scope) -> Schema:
    """What of one option no other admits."""
    one = options[index]
    around = one if isinstance(one, bool) else all_of([rest, one])
    if disjoint(around, True, scope.document):
        return False
    parts = [one]
    for other in (*options[:index], *options[index + 1 :]):
        if any(disjoint(part, other, scope.document) for part in (around, *parts[1:])):
            continue
        apart = _apart(around, other, scope)
        if apart is False:
            return False
        parts.append(apart)
        around = all_of([around, apart])
    return all_of(parts)


def _apart(one: Schema, other: Schema, scope: Scope) -> Schema:
    """What `one` needs besides, so that `other` does not admit it: that a property is there by
    which they differ, or something of what `other` refuses."""
    for name in property_names(one, scope.document):
        needed = {"type": "object", "required": [name]}
        if disjoint(all_of([one, needed]), other, scope.document):
            return not disjoint(one, needed, scope.document) and needed
    return _possible(one, denied(other, scope.document), scope)


def without_condition(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`if`, `then` and `else` as two options."""
    if "if" not in schema:
        return without(schema, "then", "else")
    rest = without(schema, "if", "then", "else")
    condition = schema_of(schema["if"])
    met = all_of([condition, schema_of(schema.get("then"))])
    unmet = _possible(rest, denied(condition, scope.document), scope)
    if disjoint(all_of([rest, met]), True, scope.document):
        met = False
    options = [met, all_of([unmet, schema_of(schema.get("else"))])]
    return with_any_of(rest, [option for option in options if option is not False])


def without_dependencies(schema: Mapping[str, Any], _scope: Scope) -> dict[str, Any]:
    """What holds if a property is there: without that property, or with all of it."""
    rest = without(schema, *_DEPENDENCIES)
    found: dict[str, Schema] = {}
    for key in _DEPENDENCIES:
        dependencies = schema.get(key)
        for name, needed in dependencies.items() if isinstance(dependencies, dict) else ():
            part = {"required": needed} if isinstance(needed, list) else schema_of(needed)
            found[name] = all_of([found.get(name, True), part])
    always = schema.get("required")
    for name, needed in found.items():
        if isinstance(always, list) and name in always:
            rest = also(rest, needed)
        elif needed is not True:
            there = all_of([{"required": [name]}, needed])
            rest = with_any_of(rest, [there, {"properties": {name: False}}])
    return rest


_DEPENDENCIES = ("dependencies", "dependentRequired", "dependentSchemas")


def with_any_of(schema: Mapping[str, Any], options: list[Schema]) -> dict[str, Any]:
    """The schema, and one of the options as well."""
    if True in options:
        return dict(schema)
    if len(options) == 1:
        return also(schema, options[0])
    if "anyOf" in schema:
        return also(schema, {"anyOf": options})
    return {**schema, "anyOf": options}


def _possible(around: Schema, options: Schema, scope: Scope) -> Schema:
    """Of the options only those that can hold together with what is around."""
    if isinstance(options, bool):
        return options
    if set(options) != {"anyOf"}:
        return not disjoint(around, options, scope.document) and options
    each = schemas_of(options["anyOf"])
    possible = (option for option in each if not disjoint(around, option, scope.document))
    return any_of(itertools.islice(possible, _WAYS_LIMIT))
