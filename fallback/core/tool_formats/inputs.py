"""What a call holds: a JSON object, a JSON string or raw text."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fallback.core.conversation import Tool, ToolCall
from fallback.core.stops import held_length, split_tail
from fallback.core.tool_formats.base import InputForm, input_form


def json_text(value: object) -> str:
    """Compact JSON."""
    return msgspec.json.encode(value).decode()


def whole_input(arguments: str, form: InputForm) -> str:
    """The input of a whole call as it is written."""
    if form == "object":
        return arguments or "{}"
    return json_text(arguments) if form == "string" else arguments


def open_input(arguments: str, form: InputForm) -> str:
    """The input so far of a call that broke off: of a string's, all but the closing quote."""
    if form == "object":
        return arguments.lstrip()
    return json_text(arguments)[:-1] if form == "string" else arguments


def past_form(call: ToolCall, tools: Sequence[Tool]) -> InputForm:
    """The form of an earlier call. Of a tool that is gone, what is no JSON object was text."""
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is not None and tool.kind == "custom":
        return input_form(tool)
    begun = call.arguments.lstrip()
    return "object" if not begun or begun.startswith("{") else "string"


class RawScanner:
    """Passes on raw text up to `close`. `after` is what is out already: `close` may have begun
    in it."""

    def __init__(self, close: str, *, after: str = "") -> None:
        self.done = False
        self._close = close
        self._held = split_tail(after, held_length(after, (close,)))[1]
        self._out_already = len(self._held)

    def feed(self, text: str) -> tuple[str, str]:
        """What of `text` belongs to the input, and what is behind `close`."""
        said, closed, rest = (self._held + text).partition(self._close)
        self.done = bool(closed)
        if not closed:
            said, self._held = split_tail(said, held_length(said, (self._close,)))
        new = said[self._out_already :]
        self._out_already = max(0, self._out_already - len(said))
        return new, rest if closed else ""
