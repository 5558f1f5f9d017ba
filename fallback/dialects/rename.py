"""The name of the model in a request's body, and nothing else of it.

A body that is decoded and encoded again loses the spelling of numbers, the order of doubled
keys and the very bytes that a prompt cache or a signature counts on. So the name is cut out
where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from fallback.dialects.jsonvalues import dump, parse

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(rb"(" + _STRING + rb")(\s*:)?|[{}\[\]]", re.DOTALL)
_STRING_VALUE = re.compile(rb"\s*(" + _STRING + rb")", re.DOTALL)


class _Named(msgspec.Struct):
    model: str = ""


_named = msgspec.json.Decoder(_Named)


def model_in(body: bytes) -> str:
    """The top-level `"model"` of a body; empty where there is none."""
    try:
        return _named.decode(body).model
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def rename_model(body: bytes, model: str) -> bytes:
    """`body` with the value of its top-level `"model"` replaced, where that is a string.

    Every other byte stays. What is no JSON object, or names no model, stays altogether. A key
    that is doubled is replaced each time: readers differ in which of them counts.
    """
    pieces: list[bytes] = []
    end = 0
    for start, stop in _places(body):
        pieces += [body[end:start], dump(model)]
        end = stop
    return b"".join([*pieces, body[end:]])


def _places(body: bytes) -> Iterator[tuple[int, int]]:
    """Where the names stand, quotes included."""
    depth = 0
    for token in _TOKEN.finditer(body):
        text, is_key = token[1], token[2] is not None
        if text is None:
            depth += 1 if token[0] in b"{[" else -1
        elif depth == 1 and is_key and _says_model(text):
            value = _STRING_VALUE.match(body, token.end())
            if value is not None:
                yield value.span(1)


def _says_model(quoted: bytes) -> bool:
    if quoted == b'"model"':
        return True
    try:
        return b"\\" in quoted and bool(parse(quoted) == "model")
    except ValueError:
        return False
