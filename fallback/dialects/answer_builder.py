"""What an upstream's answer says -> answer events, in the order that `core.answer` promises.

Servers differ in what they leave out and in what they write side by side. Rules of this file:
- `Started` comes first and `Finished` last, once each; what comes behind it is not heard.
- The events of one call are contiguous. A call that begins while another is open waits for its
  end, unless the open one is a whole JSON object already: then that has ended.
- A function without arguments gets `{}`, but only if its call is complete.
"""

from __future__ import annotations

from collections.abc import Container, Hashable
from typing import Literal

from fallback.core.answer import (
    AnswerEvent,
    Finished,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    Usage,
)
from fallback.dialects.custom_tools import Unwrapper
from fallback.dialects.jsonvalues import is_object


class _Call:
    """One call: `pieces` are its arguments so far, `told` those of them that are out."""

    def __init__(self, started: ToolCallStarted, unwrapper: Unwrapper | None) -> None:
        self.started = started
        self.unwrapper = unwrapper
        self.pieces: list[str] = []
        self.told = 0
        self.spoke = False
        self.ended = False

    def is_whole(self) -> bool:
        return is_object("".join(self.pieces))


class AnswerBuilder:
    """Collects events; `take` gives those that are ready. `custom` names the custom tools that
    were offered as functions."""

    def __init__(self, custom: Container[str] = ()) -> None:
        self._custom = custom
        self._out: list[AnswerEvent] = []
        self._started = False
        self._finished = False
        self._made_calls = False
        self._calls: dict[Hashable, _Call] = {}  # open and waiting ones, the open one first

    def __repr__(self) -> str:
        state = "finished" if self._finished else "started" if self._started else "new"
        return f"<AnswerBuilder {state} calls={len(self._calls)}>"

    def take(self) -> list[AnswerEvent]:
        """The events since the last time."""
        out, self._out = self._out, []
        return out

    def start(self, input_tokens: int = 0) -> None:
        """The answer begins; 0 input tokens where the server has not said yet."""
        if not self._started:
            self._started = True
            self._out.append(Started(input_tokens=input_tokens))

    def text(self, text: str) -> None:
        """More text of the answer. A call that is open has ended."""
        if text:
            self._say(TextDelta(text))

    def thinking(self, text: str) -> None:
        """More reasoning. A call that is open has ended."""
        if text:
            self._say(ThinkingDelta(text))

    def call(
        self, key: Hashable, id_: str, name: str, kind: Literal["function", "custom"] = "function"
    ) -> None:
        """A call begins, known by `key` until it ends."""
        self.start()
        if self._finished or key in self._calls:
            return
        wrapped = kind == "function" and name in self._custom
        started = ToolCallStarted(id=id_, name=name, kind="custom" if wrapped else kind)
        if self._calls and (first := next(iter(self._calls.values()))).is_whole():
            first.ended = True
        self._calls[key] = _Call(started, Unwrapper() if wrapped else None)
        self._made_calls = True
        self._speak(begun=len(self._calls) == 1)

    def arguments(self, key: Hashable, text: str) -> None:
        """More of the arguments of the call `key`."""
        if text and (call := self._calls.get(key)) is not None:
            call.pieces.append(text)
            self._speak()

    def has_arguments(self, key: Hashable) -> bool:
        """Whether anything of the arguments of the call `key` has come."""
        return key in self._calls and bool(self._calls[key].pieces)

    def end_call(self, key: Hashable) -> None:
        """The call `key` is complete."""
        if (call := self._calls.get(key)) is not None:
            call.ended = True
            self._speak()

    def finish(self, reason: StopReason, usage: Usage, stop_sequence: str | None = None) -> None:
        """The end. A server may call an end with calls a plain one, or the other way round."""
        if self._finished:
            return
        self.start()
        if reason in ("end", "tool_calls"):
            reason = "tool_calls" if self._made_calls else "end"
        self._end_calls(whole=reason == "tool_calls")
        self._finished = True
        sequence = stop_sequence if reason == "stop_sequence" else None
        self._out.append(Finished(reason=reason, usage=usage, stop_sequence=sequence))

    def _say(self, event: TextDelta | ThinkingDelta) -> None:
        self.start()
        if not self._finished:
            self._end_calls(whole=True)
            self._out.append(event)

    def _end_calls(self, *, whole: bool) -> None:
        for call in self._calls.values():
            call.ended = True
        self._speak(whole=whole)

    def _speak(self, *, begun: bool = False, whole: bool = True) -> None:
        """Let the open call say what it has, and the next one where it has ended."""
        while self._calls:
            key, call = next(iter(self._calls.items()))
            if begun:
                self._out.append(call.started)
            self._tell(call)
            if not call.ended:
                return
            self._close(call, whole=whole)
            del self._calls[key]
            begun = True

    def _tell(self, call: _Call) -> None:
        text = "".join(call.pieces[call.told :])
        call.told = len(call.pieces)
        self._delta(call, call.unwrapper.feed(text) if call.unwrapper else text)

    def _close(self, call: _Call, *, whole: bool) -> None:
        if call.unwrapper is not None:
            self._delta(call, call.unwrapper.finish())
        elif whole and not call.spoke and call.started.kind == "function":
            self._delta(call, "{}")
        self._out.append(ToolCallEnded())

    def _delta(self, call: _Call, text: str) -> None:
        if text:
            call.spoke = True
            self._out.append(ToolCallDelta(text))
