"""Reading calls that are marked in an answer's text: what `marked` has models write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import msgspec

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
from fallback.core.stops import held_length, split_tail
from fallback.core.tool_formats.base import InputForm, input_form
from fallback.core.tool_formats.call_log import CallLog
from fallback.core.tool_formats.expected import Expected
from fallback.core.tool_formats.inputs import RawScanner, open_input
from fallback.core.tool_syntax import callable_tools

THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"


class Marks(Protocol):
    """How calls look, to their reader."""

    @property
    def mark(self) -> str:
        """What calls begin with, wherever they stand."""
        ...

    @property
    def bare(self) -> bool:
        """Whether the very first thing in an answer may be a call without the mark."""
        ...

    @property
    def named(self) -> Expected:
        """A call up to its tool's name."""
        ...

    def keyed(self, form: InputForm) -> Expected:
        """A call from there to its input."""
        ...

    def closed(self, form: InputForm) -> Expected:
        """A call from its input to its end; it may be nothing."""
        ...

    @property
    def joined(self) -> Expected | None:
        """From one call to the next where they share a mark, or to the end of all."""
        ...

    @property
    def raw_close(self) -> str:
        """What ends raw text."""
        ...


class MarkedReader:
    """Reads one answer, in whatever pieces it comes.

    Text streams at once, less what may be the beginning of a call. A call starts when its
    head is whole, for only then is it known to be one: what looked like a call and was not
    (or was cut off before), comes out as the text it is, so that nothing the model said is
    lost and no call is invented. A call that is cut off or broken later ends with what came
    of it, and the answer's reason is then never `tool_calls`.

    `call_id` makes the id of the n-th call, counted from 0.
    """

    def __init__(
        self, marks: Marks, conversation: Conversation, call_id: Callable[[int], str]
    ) -> None:
        self._marks = marks
        self._tools: Mapping[str, Tool] = {tool.name: tool for tool in callable_tools(conversation)}
        self._calls = CallLog(call_id)
        self._held = ""
        self._before_call = ""
        self._after_markup = False
        self._bare = marks.bare
        self._form: InputForm = "object"
        self._tool: Tool | None = None
        plain = conversation.output_format is not None and not self._tools
        self._read = self._read_text if plain else self._read_start

    def __repr__(self) -> str:
        name = self._read.__name__
        return f"MarkedReader({name}, calls={self._calls.count}, held={self._held!r})"

    def resume(self, answer: PartialAnswer) -> None:
        """Read on behind what the client already has. Call it before anything is fed."""
        self._calls.count = len(answer.calls)
        self._bare = self._bare and not answer.parts
        last = answer.parts[-1] if answer.parts else None
        if not isinstance(last, SaidCall):
            return
        self._form = self._form_of(last)
        if last.whole:
            self._read, self._after_markup = self._read_joint, True
        else:
            self._read = self._read_input
            self._calls.go_on(last, self._scanner(last))

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
        if self._read == self._read_thinking:
            self._calls.emit(ThinkingDelta, self._held)
        elif self._read == self._read_input:
            self._calls.end()
        elif self._read not in (self._read_close, self._read_joint):
            self._calls.emit(TextDelta, self._before_call + self._held)
        self._held = self._before_call = ""
        return self._calls.take_out(), self._calls.reason(reason)

    def _form_of(self, call: SaidCall) -> InputForm:
        if (tool := self._tools.get(call.name)) is not None:
            return input_form(tool)
        return "string" if call.kind == "custom" else "object"

    def _scanner(self, said: SaidCall | None = None) -> ValueScanner:
        if self._form == "raw":
            return RawScanner(self._marks.raw_close, after=said.arguments if said else "")
        scanner = StringScanner() if self._form == "string" else ObjectScanner()
        if said is not None:
            scanner.feed(open_input(said.arguments, self._form))
        return scanner

    # Each reader takes what it can from the held text and says whether to read on.

    def _read_start(self) -> bool:
        begun = self._held.lstrip()
        if begun.startswith(THINK_OPEN):
            self._held = begun.removeprefix(THINK_OPEN)
            self._read = self._read_thinking
            return True
        if THINK_OPEN.startswith(begun):
            return False
        self._read = self._read_first
        return True

    def _read_thinking(self) -> bool:
        thought, closed, rest = self._held.partition(THINK_CLOSE)
        if closed:
            self._held, self._read, self._after_markup = rest, self._read_first, True
        else:
            thought, self._held = split_tail(thought, held_length(thought, (THINK_CLOSE,)))
        self._calls.emit(ThinkingDelta, thought)
        return bool(closed)

    def _read_first(self) -> bool:
        """What comes first in the answer proper: perhaps a call without its mark."""
        if not (self._bare and self._tools):
            self._read = self._read_text
            return True
        found = self._marks.named.look(self._held)
        self._read = self._read_text if found is None else self._read_name
        return found != "begun"

    def _read_text(self) -> bool:
        if self._after_markup:
            self._held = self._held.lstrip()
            self._after_markup = not self._held
        if not self._tools:
            text, self._held = self._held, ""
            self._calls.emit(TextDelta, text)
            return False
        mark = self._marks.mark
        text, marked, rest = self._held.partition(mark)
        if marked:
            self._calls.emit(TextDelta, text.rstrip())
            self._before_call = text[len(text.rstrip()) :] + marked
            self._held, self._read = rest, self._read_name
            return True
        sure, maybe = split_tail(text, held_length(text, (mark,)))
        # White space waits too: before a call it is markup, and a text of nothing else is refused
        # by some clients' servers when it is sent back to them.
        self._calls.emit(TextDelta, sure.rstrip())
        self._held = sure[len(sure.rstrip()) :] + maybe
        return False

    def _read_name(self) -> bool:
        found = self._marks.named.look(self._held)
        if found == "begun":
            return False
        self._tool = None if found is None else self._tools.get(_name(found["name"]))
        if found is None or self._tool is None:
            return self._take_for_text()
        self._form = input_form(self._tool)
        self._before_call += found[0]
        self._held, self._read = self._held[found.end() :], self._read_key
        return True

    def _read_key(self) -> bool:
        found = self._marks.keyed(self._form).look(self._held)
        if found == "begun":
            return False
        if found is None or self._tool is None:
            return self._take_for_text()
        self._calls.start(self._tool, self._scanner())
        self._before_call = ""
        self._held, self._read = self._held[found.end() :], self._read_input
        return True

    def _take_for_text(self) -> bool:
        """It is no call: what came of it is text, and the rest is read as such."""
        self._calls.emit(TextDelta, self._before_call)
        self._before_call, self._read = "", self._read_text
        return True

    def _read_input(self) -> bool:
        self._held, done = self._calls.feed(self._held)
        if done:
            self._read = self._read_close
        return done

    def _read_close(self) -> bool:
        """Read over what closes the call; without it, text goes on."""
        found = self._marks.closed(self._form).look(self._held)
        if found == "begun":
            return False
        if found is not None:
            self._held = self._held[found.end() :]
        self._read, self._after_markup = self._read_joint, True
        return True

    def _read_joint(self) -> bool:
        """Where calls share one mark, the next may follow."""
        joined = self._marks.joined
        found = None if joined is None else joined.look(self._held)
        if found == "begun":
            return False
        self._read = self._read_text
        if found is not None:
            self._held = self._held[found.end() :]
            if found[0].strip() == ",":
                self._before_call, self._read = found[0], self._read_name
        return True


def _name(written: str) -> str:
    """The tool's name, which may be quoted; what is no name is nobody's."""
    if not written.startswith('"'):
        return written
    try:
        return msgspec.json.decode(written, type=str)
    except msgspec.DecodeError:
        return ""
