"""Lenient reading of JSON that strangers wrote, and strict writing of our own.

Clients send unknown fields, missing fields and fields of the wrong type. Each reader here takes
any JSON value and gives the wanted type, or its empty value: nothing raises but `read_object`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from fallback.core.errors import BadRequest

_TEXT_KEYS = ("title", "text", "stdout", "stderr", "tool_name")
_NESTED_KEYS = ("content", "output", "source", "tool_references", "outcome")
_NESTING_LIMIT = 6


def read_object(body: bytes) -> dict[str, Any]:
    """The JSON object in `body`. Raises `BadRequest` if there is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the request body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadRequest("the request body must be a JSON object")
    return value


def parse(data: bytes | str) -> Any:
    """The JSON value in `data`. Raises `ValueError` if it is not JSON."""
    try:
        return msgspec.json.decode(data)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def is_object(text: str) -> bool:
    """Whether `text` is a JSON object, whole."""
    try:
        return isinstance(parse(text), dict)
    except ValueError:
        return False


def dump(value: Any) -> bytes:
    """Compact JSON of plain data; mappings may be of any type."""
    return msgspec.json.encode(value, enc_hook=dict)


def dump_text(value: Any) -> str:
    """`dump` as text."""
    return dump(value).decode()


def mapping(value: Any) -> dict[str, Any]:
    """`value` if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects in the list `value`; empty if it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def string(value: Any) -> str:
    """`value` if it is a string, else the empty one."""
    return value if isinstance(value, str) else ""


def optional_string(value: Any) -> str | None:
    """`value` if it is a string with something in it."""
    return string(value) or None


def number(value: Any) -> float | None:
    """`value` if it is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def integer(value: Any) -> int | None:
    """`value` as a whole number of at most 63 bits, the widest that every consumer holds."""
    if (found := number(value)) is None or abs(found) >= 2**63:
        return None
    return int(value)


def boolean(value: Any, default: bool) -> bool:
    """`value` if it is true or false, else the default."""
    return value if isinstance(value, bool) else default


def gathered_text(value: Any, depth: int = _NESTING_LIMIT) -> str:
    """The readable text in a content value of any shape, one piece a line; empty if none."""
    return "\n".join(piece for piece in _pieces(value, depth) if piece)


def _pieces(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif depth and isinstance(value, list):
        for item in value:
            yield from _pieces(item, depth - 1)
    elif depth and isinstance(value, dict):
        yield from _fields(value, depth)


def _fields(block: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key in _TEXT_KEYS:
        yield string(block.get(key))
    for key in _NESTED_KEYS:
        yield from _pieces(block.get(key), depth - 1)
