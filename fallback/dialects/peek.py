"""The few members of a request's body that the healthy path needs, without parsing the rest."""

from __future__ import annotations

import re

import msgspec

_END_BYTES = 1024
_MODEL = re.compile(rb'"model"\s*:\s*"([^"\\]{1,200})"')
_STREAM = re.compile(rb'"stream"\s*:\s*true')


class Peek(msgspec.Struct, frozen=True, kw_only=True):
    """`max_tokens` is known only where it was cheap to know: not for streams."""

    model: str = ""
    stream: bool = False
    max_tokens: int | None = None


class _Members(msgspec.Struct):
    model: str = ""
    stream: bool | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None


_decoder = msgspec.json.Decoder(_Members)


def peek(body: bytes) -> Peek:
    """What a JSON request says at its top level; nothing of what is no JSON object.

    Clients put `model` and `stream` near one of the ends, where a search finds them at a
    hundredth of the cost. There a nested member of that name could be taken for it, which
    costs no more than another limit of time. Inside a JSON string the quotes would be escaped.
    """
    for end in (body[:_END_BYTES], body[-_END_BYTES:]):
        if (model := _MODEL.search(end)) is not None:
            break
    else:
        return _read(body)
    if _STREAM.search(body, 0, _END_BYTES) or _STREAM.search(body, max(0, len(body) - _END_BYTES)):
        return Peek(model=model[1].decode("utf-8", "replace"), stream=True)
    return _read(body)


def _read(body: bytes) -> Peek:
    try:
        members = _decoder.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return Peek()
    return Peek(
        model=members.model,
        stream=members.stream is True,
        max_tokens=members.max_tokens or members.max_completion_tokens or members.max_output_tokens,
    )
