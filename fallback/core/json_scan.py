"""JSON values in text that comes in pieces: where they end, and what a string says so far.

Library parsers want whole documents; these two follow a value just closely enough to pass its
text on while it is still being written.
"""

from __future__ import annotations

import json
import re
from typing import Protocol

# What can be decoded of the text between two quotes. An unfinished escape at the end is left
# out, and the first half of a surrogate pair waits until the second, or something else, comes.
_STRING_TEXT = re.compile(
    r"""(?: [^"\\]+
          | \\ ["\\/bfnrt]
          | \\u (?! [dD][89abAB]) [0-9a-fA-F]{4}
          | \\u [dD][89abAB][0-9a-fA-F]{2} \\u [dD][c-fC-F][0-9a-fA-F]{2}
          | \\u [dD][89abAB][0-9a-fA-F]{2} (?= [^\\] | \\[^u] | \\u[^dD] | \\u[dD][^c-fC-F])
        )*""",
    re.VERBOSE,
)


_ESCAPE = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\[^u]"
)


def plain_escapes(text: str) -> str:
    """JSON text, whole or not, with just the escapes that llguidance admits: those that JSON
    asks for, and that of DEL. One that means half a character stays as it is."""
    return _ESCAPE.sub(_plain_escape, text).replace("\x7f", "\\u007f")


def _plain_escape(found: re.Match[str]) -> str:
    try:
        plain = json.dumps(json.loads(f'"{found[0]}"'), ensure_ascii=False)[1:-1]
        plain.encode()
    except ValueError:
        return found[0]
    return plain


class ValueScanner(Protocol):
    """Follows one JSON value. `done` once it has ended."""

    done: bool

    def feed(self, text: str) -> tuple[str, str]:
        """What to pass on of `text`, and what is behind the value's end."""
        ...


class ObjectScanner:
    """Passes on the JSON text of an object as it is. Expects the opening brace first."""

    def __init__(self) -> None:
        self.done = False
        self._depth = 0
        self._in_string = False
        self._escaped = False

    def feed(self, text: str) -> tuple[str, str]:
        """What of `text` belongs to the object, and what is behind it."""
        for i, char in enumerate(text):
            self._step(char)
            if self._depth == 0:
                self.done = True
                return text[: i + 1], text[i + 1 :]
        return text, ""

    def _step(self, char: str) -> None:
        if self._escaped:
            self._escaped = False
        elif char == '"':
            self._in_string = not self._in_string
        elif self._in_string:
            self._escaped = char == "\\"
        elif char in "{[":
            self._depth += 1
        elif char in "}]":
            self._depth -= 1


class StringScanner:
    """Passes on what a JSON string says, decoded. Expects the opening quote first.

    A string with an escape that JSON does not know never ends.
    """

    def __init__(self) -> None:
        self.done = False
        self._held = ""
        self._opened = False

    def feed(self, text: str) -> tuple[str, str]:
        """The decoded text, whole characters only, and what is behind the closing quote."""
        if text and not self._opened:
            self._opened, text = True, text[1:]
        self._held += text
        found = _STRING_TEXT.match(self._held)
        end = found.end() if found else 0
        said, rest = _decoded(self._held[:end]), self._held[end:]
        self.done = rest.startswith('"')
        self._held = "" if self.done else rest
        return said, rest[1:] if self.done else ""


def _decoded(escaped: str) -> str:
    said = str(json.loads(f'"{escaped}"', strict=False))
    # Half a surrogate pair cannot be encoded later on.
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
