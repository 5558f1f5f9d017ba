"""When an earlier answer may stand in for one that the cloud does not give. Pure.

Rules of this file:
- Only where somebody asks for it: the client with `Cache-Control: stale-if-error=SECONDS` on the
  request (RFC 5861 section 4), or a rule of the operator's (`stale_if_error_s`).
- The same question by the same key: a hash of the canonical body and the credential. What names the
  user or the session and changes no answer is left out of it.
- Never a request with tools, whose answer is an action, unless a rule says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

import http_sf
import msgspec

_ABOUT_THE_CLIENT = frozenset(
    {"metadata", "user", "safety_identifier", "prompt_cache_key", "store", "service_tier"}
)
_MOST_S = 30 * 86400.0


class StaleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that was given before: when (Unix seconds), by which receipt, as what."""

    stored: float
    origin: str
    content_type: str
    body: bytes


def window_s(headers: Mapping[bytes, bytes], by_rule: float) -> float:
    """How old an answer may be, in seconds; 0 where none is wanted. The longer of both counts."""
    asked = _asked_s(headers.get(b"cache-control", b"")) if b"cache-control" in headers else 0.0
    return min(max(asked, by_rule), _MOST_S)


def key_of(dialect: str, credential: str, body: bytes, *, with_tools: bool) -> str | None:
    """What the same request has in common with this one; None where no other answer may do."""
    try:
        request = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return None
    if not isinstance(request, dict) or (request.get("tools") and not with_tools):
        return None
    asked = {name: value for name, value in request.items() if name not in _ABOUT_THE_CLIENT}
    canonical = msgspec.json.encode([dialect, credential, asked], order="deterministic")
    return hashlib.sha256(canonical).hexdigest()


def headers_of(answer: StaleAnswer, now: float, proxy: str) -> list[tuple[bytes, bytes]]:
    """`Age` (RFC 9111) and `Cache-Status` (RFC 9211); such an answer was never fresh, so it has
    been stale for as long as it is old."""
    age = max(0, math.floor(now - answer.stored))
    status = f'{proxy}; hit; ttl={-age}; detail="stale-if-error"'
    return [
        (b"content-type", answer.content_type.encode("latin-1", "replace")),
        (b"age", str(age).encode()),
        (b"cache-status", status.encode("ascii")),
    ]


def _asked_s(value: bytes) -> float:
    try:
        directives: Any = http_sf.parse(value, tltype="dictionary")
        seconds = directives.get("stale-if-error", (0,))[0]
    except (ValueError, TypeError, IndexError):
        return 0.0
    # One without a value is parsed as `True`.
    return float(seconds) if type(seconds) is int and seconds > 0 else 0.0
