"""Reading what gpt-oss writes: messages in channels, and which of them are calls."""

from __future__ import annotations

import re
from collections.abc import Callable

from fallback.core.answer import (
    AnswerEvent,
    PartialAnswer,
    SaidCall,
    StopReason,
    TextDelta,
    ThinkingDelta,
)
from fallback.core.conversation import Conversation, Tool
from fallback.core.json_scan import ObjectScanner, StringScanner, ValueScanner
from fallback.core.stops import first_stop, held_length, split_tail
from fallback.core.tool_formats.base import InputForm, input_form
from fallback.core.tool_formats.call_log import CallLog
from fallback.core.tool_formats.expected import Expected
from fallback.core.tool_formats.harmony_marks import CALL, CHANNEL, END, MESSAGE, RETURN, START
from fallback.core.tool_formats.inputs import open_input
from fallback.core.tool_formats.native import WRAP_FORM
from fallback.core.tool_syntax import callable_tools

_LONGEST_HEADER_CHARS = 512
_ENDS = (END, CALL, RETURN)
_BREAKS = (*_ENDS, START, CHANNEL)
_HEADERS = (START, CHANNEL, " to=")
_RECIPIENT = re.compile(r"\bto=functions\.([^\s<]+)")
_THOUGHT = re.compile(rf"{re.escape(CHANNEL)}\s*analysis\b")
_OBJECT = Expected(" ", before="{")
_STRING = Expected(WRAP_FORM, before='"')


class HarmonyReader:
    """Reads one answer, in whatever pieces it comes.

    Messages to a tool that may be called are calls, once their input begins as it should;
    analysis is thinking; all else is text, several messages of it set apart as paragraphs. A
    model that leaves the form altogether is taken at its word: what it says is text.

    `call_id` makes the id of the n-th call, counted from 0.
    """

    def __init__(self, conversation: Conversation, call_id: Callable[[int], str]) -> None:
        self._tools = {tool.name: tool for tool in callable_tools(conversation)}
        self._calls = CallLog(call_id)
        self._tool: Tool | None = None
        self._held = ""
        self._gap = ""
        self._said = False
        self._read = self._read_start

    def __repr__(self) -> str:
        name = self._read.__name__
        return f"HarmonyReader({name}, calls={self._calls.count}, held={self._held!r})"

    def resume(self, answer: PartialAnswer) -> None:
        """Read on behind what the client already has. Call it before anything is fed."""
        self._calls.count = len(answer.calls)
        self._said = bool(answer.text)
        last = answer.parts[-1] if answer.parts else None
        if isinstance(last, SaidCall):
            self._read = self._read_rest if last.whole else self._read_input
            if not last.whole:
                self._go_on(last)
        elif last is not None:
            self._read = self._read_text

    def feed(self, text: str) -> list[AnswerEvent]:
        """The events that `text` completes."""
        self._held += text
        while self._read():
            pass
        return self._calls.take_out()

    def finish(self, reason: StopReason) -> tuple[list[AnswerEvent], StopReason]:
        """The last events, and the reason of the end in the light of the calls made.

        A call that the model left unfinished by its own choice counts as cut off.
        """
        if self._read == self._read_input:
            self._calls.end()
        elif self._read == self._read_thought:
            self._calls.emit(ThinkingDelta, self._held)
        elif self._read in (self._read_start, self._read_text, self._read_opening):
            self._say(self._held)
        self._held = ""
        return self._calls.take_out(), self._calls.reason(reason)

    def _go_on(self, call: SaidCall) -> None:
        form: InputForm = "string" if call.kind == "custom" else "object"
        scanner: ValueScanner = StringScanner() if form == "string" else ObjectScanner()
        scanner.feed(open_input(call.arguments, form))
        self._calls.go_on(call, scanner)

    def _say(self, text: str) -> None:
        if text:
            self._calls.emit(TextDelta, self._gap + text)
            self._gap, self._said = "", True

    # Each reader takes what it can from the held text and says whether to read on.

    def _read_start(self) -> bool:
        if any(head.startswith(self._held) for head in _HEADERS):
            return False
        is_header = self._held.startswith(_HEADERS)
        self._read = self._read_header if is_header else self._read_text
        return True

    def _read_header(self) -> bool:
        header, closed, rest = self._held.partition(MESSAGE)
        if not closed:
            return self._take_for_text(header)
        self._held = rest
        found = _RECIPIENT.search(header)
        self._tool = self._tools.get(found[1]) if found else None
        if self._tool is not None:
            self._read = self._read_opening
        elif found is None and _THOUGHT.search(header):
            self._read = self._read_thought
        else:
            self._read, self._gap = self._read_text, "\n\n" if self._said else ""
        return True

    def _take_for_text(self, header: str) -> bool:
        """What is too long for a header is none."""
        if len(header) <= _LONGEST_HEADER_CHARS:
            return False
        self._say(header)
        self._held, self._read = "", self._read_text
        return True

    def _read_opening(self) -> bool:
        """The beginning of a call's input. What begins otherwise is no call."""
        assert self._tool is not None
        is_string = input_form(self._tool) == "string"
        found = (_STRING if is_string else _OBJECT).look(self._held)
        if found == "begun":
            return False
        if found is None:
            self._read, self._gap = self._read_text, "\n\n" if self._said else ""
            return True
        self._held = self._held[found.end() :]
        self._calls.start(self._tool, StringScanner() if is_string else ObjectScanner())
        self._read = self._read_input
        return True

    def _read_input(self) -> bool:
        self._held, done = self._calls.feed(self._held)
        if done:
            self._read = self._read_rest
        return done

    def _read_rest(self) -> bool:
        """Read over what ends a call, up to the next message."""
        return self._pass_on(lambda text: None)

    def _read_thought(self) -> bool:
        return self._pass_on(lambda text: self._calls.emit(ThinkingDelta, text))

    def _read_text(self) -> bool:
        return self._pass_on(self._say)

    def _pass_on(self, emit: Callable[[str], None]) -> bool:
        """Up to what ends the message, or begins another one without an end."""
        found = first_stop(self._held, _BREAKS)
        if found is None:
            sure, self._held = split_tail(self._held, held_length(self._held, _BREAKS))
            emit(sure)
            return False
        start, mark = found
        emit(self._held[:start])
        self._held = self._held[start + (len(mark) if mark in _ENDS else 0) :]
        self._read = self._read_next if mark in _ENDS else self._read_header
        return True

    def _read_next(self) -> bool:
        """Behind a message: the next one, or the end."""
        self._held = self._held.lstrip()
        if any(head.startswith(self._held) for head in _HEADERS):
            return False
        self._read = self._read_start
        return True
