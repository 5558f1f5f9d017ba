"""Text that steers nothing."""

from __future__ import annotations

import re
from collections.abc import Collection

_ZERO_WIDTH = "\u200b"


def any_of(texts: Collection[str]) -> re.Pattern[str]:
    """A pattern of any of the texts, the longest first; without any it never matches."""
    ordered = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, ordered)) or r"(?!)")


def disarm(text: str, marks: re.Pattern[str]) -> str:
    """The text with every mark broken up by a character that nobody sees."""
    return marks.sub(lambda found: found[0][0] + _ZERO_WIDTH + found[0][1:], text)


def broken_up(text: str, marks: Collection[str]) -> str:
    """The text with none of these marks in it."""
    return disarm(text, any_of(marks)) if any(mark in text for mark in marks) else text
