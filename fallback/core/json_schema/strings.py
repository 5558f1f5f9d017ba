"""Strings: formats as patterns, and patterns that leave strings out.

Sources: RFC 3339 (dates and times; the calendar's leap days included), RFC 6901 (JSON pointers),
https://json-schema.org/draft/2020-12/json-schema-validation#section-7.3 (formats).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_YEAR = r"(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_LEAP_YEAR = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
_DATE = (
    rf"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    rf"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    rf"|{_LEAP_YEAR}-02-29)"
)
_TIME = (
    r"(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
    r"(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
_POINTER = r"(?:/(?:[^/~]|~[01])*)*"

# What a format is replaced by: narrower than the format, never wider.
PATTERNS = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "json-pointer": f"^{_POINTER}$",
    "relative-json-pointer": f"^(?:0|[1-9][0-9]{{0,5}})(?:#|{_POINTER})$",
}
NARROWER = {
    "idn-email": "email",
    "idn-hostname": "hostname",
    "iri": "uri",
    "iri-reference": "uri",
    "uri-reference": "uri",
    "uri-template": "uri",
}
KEPT = frozenset({"duration", "email", "hostname", "ipv4", "ipv6", "uri", "uuid"})

# llguidance's regular expressions have no lookaround and no references back.
_UNKNOWN = re.compile(r"\(\?<?[=!]|\\[1-9]|\\k<")


def is_usable_pattern(pattern: str) -> bool:
    """Whether the engine may know all that the pattern asks for."""
    return not _UNKNOWN.search(pattern)


def all_strings_but(excluded: Iterable[str]) -> str:
    """A pattern of all strings that are none of `excluded`: it follows their tree of common
    beginnings, and leaves it at any point."""
    return f"^(?:{_leaving(sorted(set(excluded)))})$"


def _leaving(rests: list[str]) -> str:
    """The pattern of what may follow where these ends must not."""
    ways = [] if "" in rests else [""]
    by_first: dict[str, list[str]] = {}
    for rest in filter(None, rests):
        by_first.setdefault(rest[0], []).append(rest[1:])
    others = "".join(map(_in_class, by_first))
    ways.append(rf"[^{others}](?:.|\n)*" if others else r"(?:.|\n)+")
    ways += [f"{re.escape(first)}(?:{_leaving(ends)})" for first, ends in by_first.items()]
    return "|".join(ways)


def _in_class(char: str) -> str:
    return "\\" + char if char in r"\]^-[&~" else char
