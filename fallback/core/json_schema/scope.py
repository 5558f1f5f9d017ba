"""Where a rewriting stands in a document, and what it had to let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fallback.core.json_schema.document import Document, Schema


class Loosened(msgspec.Struct, frozen=True, kw_only=True):
    """A keyword that the grammar does not hold the output to; `pointer` is that of its schema."""

    keyword: str
    pointer: str

    def __str__(self) -> str:
        return f"{self.keyword} at #{self.pointer}"


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """One schema's place. `closes`: objects here are whole, nothing else adds properties."""

    document: Document
    pointer: str
    closes: bool
    loosened: dict[Loosened, None]

    def tell(self, keyword: str) -> None:
        """Take note that a keyword is not held to."""
        self.loosened.setdefault(Loosened(keyword=keyword, pointer=self.pointer))

    def inside(self, part: Schema, *, closes: bool) -> Scope:
        """The scope of a part of this schema."""
        pointer = self.document.pointer(part, self.pointer)
        return msgspec.structs.replace(self, pointer=pointer, closes=closes)


def without(schema: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The schema without some keywords."""
    return {key: value for key, value in schema.items() if key not in keys}


def also(schema: Mapping[str, Any], *parts: Schema) -> dict[str, Any]:
    """The schema and what else must hold."""
    needed = [part for part in parts if part is not True]
    if not needed:
        return dict(schema)
    return {**schema, "allOf": [*schema.get("allOf", ()), *needed]}
