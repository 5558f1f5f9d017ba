"""Keywords of strings: formats that a grammar can follow, patterns that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fallback.core.json_schema.scope import Scope, also, without
from fallback.core.json_schema.strings import KEPT, NARROWER, PATTERNS, is_usable_pattern


def with_known_text(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    """`format` as the engine's own or as a pattern, and no pattern that it would refuse."""
    return _with_known_format(_with_known_pattern(schema, scope), scope)


def _with_known_pattern(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    pattern = schema.get("pattern")
    if pattern is None or (isinstance(pattern, str) and is_usable_pattern(pattern)):
        return dict(schema)
    scope.tell("pattern")
    return without(schema, "pattern")


def _with_known_format(schema: Mapping[str, Any], scope: Scope) -> dict[str, Any]:
    form = schema.get("format")
    rest = without(schema, "format")
    if not isinstance(form, str):
        return rest
    if form in PATTERNS:
        return also(rest, {"pattern": PATTERNS[form]})
    if form == "regex":
        scope.tell("format")
    known = NARROWER.get(form, form)
    return {**rest, "format": known} if known in KEPT else rest
