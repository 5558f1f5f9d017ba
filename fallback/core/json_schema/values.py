"""JSON values and the parts of schemas, read without trust in what the client sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fallback.core.json_schema.document import Schema

_ENCODER = msgspec.json.Encoder(order="sorted")


def canonical(value: Any) -> bytes:
    """A key that is equal for values that JSON Schema calls equal: 1 and 1.0, objects in any
    order of their names."""
    return _ENCODER.encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return list(map(_plain, value))
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return value


def is_whole(value: float) -> bool:
    """Whether a number is an integer, however it is written."""
    return isinstance(value, int) or value.is_integer()


def number(value: object) -> float | None:
    """A number (no boolean), else None."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def count(value: object) -> int | None:
    """A whole number from zero on, also where it is written 1.0."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and is_whole(found) else None


def strings(value: object) -> list[str]:
    """The strings of a list; none of anything else."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def schema_of(value: object) -> Schema:
    """A schema; what is none admits everything."""
    return value if isinstance(value, (dict, bool)) else True


def schemas_of(value: object) -> list[Schema]:
    """The schemas of a list."""
    return list(map(schema_of, value)) if isinstance(value, list) else []


def named_schemas(schema: Mapping[str, Any], key: str) -> dict[str, Schema]:
    """The schemas under `properties` and the like, by name."""
    found = schema.get(key)
    return (
        {name: schema_of(each) for name, each in found.items()} if isinstance(found, dict) else {}
    )
