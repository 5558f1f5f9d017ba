"""A schema document: where its parts stand, and what its references mean."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

Schema: TypeAlias = Mapping[str, Any] | bool

_DEPTH_LIMIT = 200
_EFFORT = 6_000
_SEARCH_EFFORT = 100_000
_PERCENT_ENCODED = re.compile(r"(?:%[0-9a-fA-F]{2})+")


class Document:
    """The root schema, with the pointer of each object in it."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self._pointers: dict[int, str] = {}
        self._anchors: dict[str, Any] = {}
        self._effort_left = _EFFORT
        self._search_left = _SEARCH_EFFORT
        self._recurring: dict[int, bool] = {}
        for pointer, part in _parts(root, "", 0):
            self._pointers.setdefault(id(part), pointer)
            self._note_anchors(part)
        identifier = root.get("$id", root.get("id"))
        self._base = identifier.rstrip("#") if isinstance(identifier, str) else ""

    def __repr__(self) -> str:
        return f"<Document parts={len(self._pointers)} anchors={len(self._anchors)}>"

    def spend(self) -> bool:
        """Take note of one step of reasoning; False once there were too many for one document."""
        self._effort_left -= 1
        return self._effort_left >= 0

    def pointer(self, part: Schema, default: str) -> str:
        """The JSON pointer of an object of this document; `default` for any other value."""
        return self._pointers.get(id(part), default)

    def resolve(self, reference: object) -> Schema | None:
        """What a `$ref` means; None where it leads out of the document or nowhere."""
        if not isinstance(reference, str):
            return None
        base, _, fragment = reference.partition("#")
        if base and base not in (self._base, self._base.rpartition("/")[2]):
            found = self._anchors.get(reference)
        elif not fragment:
            found = self.root
        elif fragment.startswith("/"):
            found = _at_pointer(self.root, _unquoted(fragment))
        else:
            found = self._anchors.get(f"#{fragment}")
        return found if isinstance(found, (dict, bool)) else None

    def recurs(self, part: Mapping[str, Any]) -> bool:
        """Whether a value of this schema may hold another of the same; only for schemas of this
        document, and False where the search takes too long."""
        if id(part) not in self._pointers:
            return False
        if id(part) not in self._recurring:
            self._recurring[id(part)] = self._leads_back(part)
        return self._recurring[id(part)]

    def _leads_back(self, part: Mapping[str, Any]) -> bool:
        open_parts: list[Any] = [*part.values(), self.resolve(part.get("$ref"))]
        seen: set[int] = set()
        while open_parts and self._search_left > 0:
            found = open_parts.pop()
            if found is part:
                return True
            if not isinstance(found, (dict, list)) or id(found) in seen:
                continue
            seen.add(id(found))
            self._search_left -= 1
            if isinstance(found, list):
                open_parts += found
            else:
                open_parts += found.values()
                open_parts.append(self.resolve(found.get("$ref")))
        return False

    def _note_anchors(self, part: Mapping[str, Any]) -> None:
        for key in ("$anchor", "$dynamicAnchor"):
            if isinstance(name := part.get(key), str):
                self._anchors.setdefault(f"#{name}", part)
        for key in ("$id", "id"):
            if isinstance(name := part.get(key), str):
                self._anchors.setdefault(name, part)


def _parts(value: Any, pointer: str, depth: int) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if depth > _DEPTH_LIMIT:
        return
    if isinstance(value, dict):
        yield pointer, value
        for key, inner in value.items():
            yield from _parts(inner, f"{pointer}/{_escaped(key)}", depth + 1)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _parts(inner, f"{pointer}/{index}", depth + 1)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _unquoted(fragment: str) -> str:
    return _PERCENT_ENCODED.sub(
        lambda found: bytes.fromhex(found[0].replace("%", "")).decode("utf-8", "replace"), fragment
    )


def _at_pointer(root: Any, pointer: str) -> Any:
    found = root
    for key in pointer.split("/")[1:]:
        name = key.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict):
            found = found.get(name)
        elif isinstance(found, list) and name.isdecimal() and int(name) < len(found):
            found = found[int(name)]
        else:
            return None
    return found
