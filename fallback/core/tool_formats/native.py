"""What the formats with a mark share that a model's template shows itself.

Templates know functions alone: a custom tool is told as a function of one string, and its call
reads `{"input": "<text>"}`. Text with a grammar of its own does not fit in there.
"""

from __future__ import annotations

from typing import ClassVar

from fallback.core.tool_formats.base import InputForm
from fallback.core.tool_formats.expected import Expected
from fallback.core.tool_formats.marked import GENERAL_MARKUP, Marked, named

WRAP_OPEN, WRAP_CLOSE = '{"input": ', "}"
WRAP_FORM = ' { "input" : '


class JsonCalls(Marked):
    """Calls that are JSON objects with the tool's name and, under `key`, its arguments."""

    key: ClassVar[str] = "arguments"
    close: ClassVar[str] = ""
    markup: ClassVar[frozenset[str]] = GENERAL_MARKUP

    def __init__(self) -> None:
        self._object = Expected(f' , "{self.key}" : ', before="{")
        self._string = Expected(f' , "{self.key}" :{WRAP_FORM}', before='"')
        ends = [f" }} {self.close}", f" {self.close}"] if self.close else []
        self._closed = Expected(*ends, " }")
        self._string_closed = Expected(*(f" }}{end}" for end in [*ends, " }"]), *ends, " }")

    def head(self, name: str, form: InputForm) -> str:
        """A call up to its input."""
        return f'{named(name)}, "{self.key}": {WRAP_OPEN if form == "string" else ""}'

    def tail(self, form: InputForm) -> str:
        """A call from its input to its end."""
        close = f"\n{self.close}" if self.close else ""
        return f"{WRAP_CLOSE if form == 'string' else ''}}}{close}"

    def keyed(self, form: InputForm) -> Expected:
        """A call from its tool's name to its input."""
        return self._string if form == "string" else self._object

    def closed(self, form: InputForm) -> Expected:
        """A call from its input to its end, as the model may write it."""
        return self._string_closed if form == "string" else self._closed
