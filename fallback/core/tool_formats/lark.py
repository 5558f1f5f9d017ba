"""Texts as pieces of llguidance's Lark dialect.

Source: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

ANY = "/(?s:.*)/"
EMPTY = '""'


def literal(text: str) -> str:
    """A string of exactly this text."""
    return msgspec.json.encode(text).decode()


def pattern(text: str) -> str:
    """The inside of a regular expression that matches exactly this text."""
    return re.escape(text).replace("/", r"\/").replace("\n", "n")


def without(marks: Iterable[str], beginnings: Iterable[str] = ()) -> str:
    """A terminal: any text that holds none of the `marks` and begins with none of the
    `beginnings`, which are regular expressions."""
    held = (f"~/(?s:.*){pattern(mark)}(?s:.*)/" for mark in sorted(marks))
    begun = (f"~/{beginning}(?s:.*)/" for beginning in beginnings)
    return " & ".join([ANY, *held, *begun])
