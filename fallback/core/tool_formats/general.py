"""The format of models that have none of their own, or that we do not know.

Most open models have seen it ("Hermes" style):

    <tool_call>
    {"name": "<name>", "arguments": {...}}
    </tool_call>

A custom tool takes its text as a JSON string, `{"name": "<name>", "input": "<text>"}`, or, where
the client gave it a grammar, as it is, on the lines behind `{"name": "<name>"}`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from fallback.core.conversation import Tool
from fallback.core.tool_formats.base import InputForm
from fallback.core.tool_formats.expected import Expected
from fallback.core.tool_formats.marked import CALL_CLOSE, CALL_OPEN, Marked, named

_KEYED: dict[InputForm, Expected] = {
    "object": Expected(' , "arguments" : ', before="{"),
    "string": Expected(' , "input" : ', before='"'),
    "raw": Expected(" }\n"),
}
_CLOSED = Expected(f" }} {CALL_CLOSE}", f" {CALL_CLOSE}", " }")


class General(Marked):
    """The general format."""

    name: ClassVar[str] = "general"
    native: ClassVar[bool] = False
    mark: ClassVar[str] = CALL_OPEN
    after_mark: ClassVar[str] = "\n"
    between: ClassVar[str] = f"\n{CALL_OPEN}\n"
    raw_close: ClassVar[str] = f"\n{CALL_CLOSE}"

    def takes(self, tools: Sequence[Tool]) -> bool:
        """Any tool can be called."""
        return True

    def head(self, name: str, form: InputForm) -> str:
        """A call up to its input."""
        if form == "raw":
            return f"{named(name)}}}\n"
        return f'{named(name)}, "{"input" if form == "string" else "arguments"}": '

    def tail(self, form: InputForm) -> str:
        """A call from its input to its end."""
        return self.raw_close if form == "raw" else f"}}\n{CALL_CLOSE}"

    def keyed(self, form: InputForm) -> Expected:
        """A call from its tool's name to its input."""
        return _KEYED[form]

    def closed(self, form: InputForm) -> Expected:
        """The end of a call. Raw text has it behind it already."""
        return _NOTHING if form == "raw" else _CLOSED


_NOTHING = Expected("")
