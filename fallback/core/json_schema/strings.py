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

# llguidance's regular expressions have no lookaround, no references back, and anchors only at
# their ends.
_SINGLE = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]")  # one character, however it is written
_GROUPS = re.compile(r"\)[*+{]")
_QUANTIFIERS = re.compile(r"[*+{]")
_TRIED_CHARS, _TRIED_QUANTIFIERS = 200, 2
_LITERAL = re.compile(r"(?:[\w \-/#@:,;=!%&~\"'<>]|\\[./\-+*?^$()\[\]{}|])+", re.ASCII)
_UNKNOWN = re.compile(r"\(\?<?[=!]|\\[1-9bB]|\\k<")
_ANCHOR_INSIDE = re.compile(r"\$[^|)]|[^|(]\^")


def is_usable_pattern(pattern: str) -> bool:
    """Whether the engine may know all that the pattern asks for."""
    return not _UNKNOWN.search(pattern) and not _ANCHOR_INSIDE.search(_SINGLE.sub("x", pattern))


def matches(pattern: str, text: str) -> bool | None:
    """Whether a client's pattern is found in a text; None where that cannot be told, or might
    take long: quantified groups and many quantifiers are not tried at all."""
    bare = _SINGLE.sub("x", pattern)
    if len(pattern) > _TRIED_CHARS or len(text) > _TRIED_CHARS or _GROUPS.search(bare):
        return None
    if len(_QUANTIFIERS.findall(bare)) > _TRIED_QUANTIFIERS:
        return None
    try:
        return re.search(pattern, text, re.ASCII) is not None
    except re.error:
        return None


def literal_beginning(pattern: str) -> str:
    """The text that all strings begin with in which the pattern is found."""
    if not pattern.startswith("^") or "|" in pattern:
        return ""
    found = _LITERAL.match(pattern, 1)
    text = found[0] if found else ""
    behind = pattern[1 + len(text) : 2 + len(text)]
    plain = re.sub(r"\\(.)", r"\1", text)
    return plain[:-1] if behind in ("?", "*", "{") else plain


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
