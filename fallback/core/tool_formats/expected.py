r"""Text of a known form, recognized while it is still being written.

A form is written as it looks: a space stands for any white space, and what varies is named in
angle brackets.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Found: TypeAlias = re.Match[str] | Literal["begun"] | None

_QUOTED = r'"(?:[^"\\]|\\.)*'
# What varies: whole, and from its first character on.
_VARYING = {
    "NAME": (rf'(?P<name>{_QUOTED}")', rf'{_QUOTED}\\?"?'),
    "WORD": (r"(?P<name>[^\[\]{}\s]+)", r"[^\[\]{}\s]+"),
    "ID": (r"[^\[\]\s]*", r"[^\[\]\s]*"),
    "STRING": (rf'{_QUOTED}"', rf'{_QUOTED}\\?"?'),
}
_PART = re.compile(rf"<({'|'.join(_VARYING)})>|(.)", re.DOTALL)


class Expected:
    """One of several forms: the first that the text may still turn out to be. `before` must
    follow it, and stays."""

    def __init__(self, *forms: str, before: str = "") -> None:
        ahead = f"(?={re.escape(before)})" if before else ""
        self._forms = tuple(
            (re.compile(_whole(form) + ahead, re.DOTALL), re.compile(_begun(form), re.DOTALL))
            for form in forms
        )

    def look(self, text: str) -> Found:
        """What `text` begins with; `"begun"` if more text may make it one of the forms."""
        for whole, begun in self._forms:
            if (found := whole.match(text)) is not None:
                return found
            if begun.fullmatch(text):
                return "begun"
        return None


def _whole(form: str) -> str:
    return "".join(_VARYING[name][0] if name else _plain(char) for name, char in _parts(form))


def _begun(form: str) -> str:
    nested = ""
    for name, char in reversed(_parts(form)):
        nested = f"(?:{_VARYING[name][1] if name else _plain(char)}{nested})?"
    return nested


def _parts(form: str) -> list[tuple[str, str]]:
    return _PART.findall(form)


def _plain(char: str) -> str:
    return r"\s*" if char == " " else re.escape(char)
