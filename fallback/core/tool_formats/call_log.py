"""The calls of one answer as they are read, whatever the format."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fallback.core.answer import (
    AnswerEvent,
    SaidCall,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.conversation import Tool
from fallback.core.json_scan import ObjectScanner, ValueScanner


class CallLog:
    """The calls of one answer, and the events not yet told."""

    def __init__(self, call_id: Callable[[int], str]) -> None:
        self._call_id = call_id
        self._out: list[AnswerEvent] = []
        self._arguments: list[str] = []
        self._scanner: ValueScanner = ObjectScanner()
        self._broken = False
        self.count = 0

    def emit(self, kind: type[TextDelta | ThinkingDelta | ToolCallDelta], text: str) -> None:
        """Tell of `text`, if there is any."""
        if text:
            self._out.append(kind(text))

    def take_out(self) -> list[AnswerEvent]:
        """The events since the last time."""
        out, self._out = self._out, []
        return out

    def start(self, tool: Tool, scanner: ValueScanner) -> None:
        """A call of `tool` begins; `scanner` follows its input."""
        call_id = self._call_id(self.count)
        self._out.append(ToolCallStarted(id=call_id, name=tool.name, kind=tool.kind))
        self.count += 1
        self._arguments, self._scanner = [], scanner

    def go_on(self, call: SaidCall, scanner: ValueScanner) -> None:
        """The open `call` goes on; `scanner` has followed what the client has of it."""
        self._arguments, self._scanner = [call.arguments], scanner

    def feed(self, text: str) -> tuple[str, bool]:
        """Pass the open call's input on: what is behind it, and whether it has ended."""
        # All of it may have been out already.
        said, rest = ("", text) if self._scanner.done else self._scanner.feed(text)
        self.emit(ToolCallDelta, said)
        self._arguments.append(said)
        if self._scanner.done:
            self.end()
        return rest, self._scanner.done

    def end(self) -> None:
        """The open call ends where it is, which may be too soon."""
        self._out.append(ToolCallEnded())
        is_object = isinstance(self._scanner, ObjectScanner)
        whole = self._scanner.done and (not is_object or _is_json("".join(self._arguments)))
        self._broken |= not whole

    def reason(self, reason: StopReason) -> StopReason:
        """The reason of the answer's end in the light of its calls."""
        if reason != "end" or not self.count:
            return reason
        return "max_tokens" if self._broken else "tool_calls"


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.DecodeError:
        return False
    return True
