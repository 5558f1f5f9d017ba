"""The order of properties in JSON that another server began.

A grammar made from a JSON Schema admits the properties of an object in one order only, that of
the schema. JSON itself knows none, and servers differ: Anthropic writes the required ones first
(https://docs.claude.com/en/docs/build-with-claude/structured-outputs).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str, ...]
"""Where a value stands: the names that lead to it, `_ITEM` for any item of an array."""

_ITEM = "[]"
_MARKS = re.compile(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]', re.DOTALL)


def in_order_of(text: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with its properties in the order in which `text`, JSON that may be unfinished,
    has them; those that it has not stay in theirs. References are not followed."""
    names = _Names()
    for mark in _MARKS.findall(text):
        names.take(mark)
    return _sorted(schema, (), names.found)


class _Names:
    """The names in each object, in order; the very last may be unfinished."""

    def __init__(self) -> None:
        self.found: dict[Path, list[str]] = {}
        self._open: list[tuple[Path, bool]] = []  # the values around, and whether objects
        self._at: Path = ()
        self._awaits_name = False

    def take(self, mark: str) -> None:
        if mark == "{":
            self._enter(self._at, is_object=True)
        elif mark == "[":
            self._enter((*self._at, _ITEM), is_object=False)
        elif mark in "}]":
            del self._open[-1:]
        elif mark == "," and self._open:
            self._at, self._awaits_name = self._open[-1]
        elif self._awaits_name:
            self._name(mark)

    def _enter(self, at: Path, *, is_object: bool) -> None:
        self._open.append((at, is_object))
        self._at, self._awaits_name = at, is_object

    def _name(self, quoted: str) -> None:
        around = self._open[-1][0]
        name = _unquoted(quoted)
        self.found.setdefault(around, []).append(name)
        self._at, self._awaits_name = (*around, name), False


def _unquoted(quoted: str) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:]


def _sorted(
    schema: Mapping[str, Any], at: Path, found: Mapping[Path, Sequence[str]]
) -> dict[str, Any]:
    ordered = dict(schema)
    properties, items = schema.get("properties"), schema.get("items")
    if isinstance(properties, dict):
        names = sorted(properties, key=lambda name: _rank(name, found.get(at, ())))
        ordered["properties"] = {
            name: _sorted_value(properties[name], (*at, name), found) for name in names
        }
    if isinstance(items, dict):
        ordered["items"] = _sorted(items, (*at, _ITEM), found)
    return ordered


def _sorted_value(schema: Any, at: Path, found: Mapping[Path, Sequence[str]]) -> Any:
    return _sorted(schema, at, found) if isinstance(schema, dict) else schema


def _rank(name: str, seen: Sequence[str]) -> int:
    if name in seen:
        return seen.index(name)
    begun = bool(seen) and name.startswith(seen[-1])
    return len(seen) - begun
