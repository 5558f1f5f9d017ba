"""A stream of chat completion chunks -> an answer with its times. Pure: the time is an argument.

Rules of this file:
- Whoever answers is read alike: text, tool calls, usage; `timings` of llama-server are not used,
  for they leave out what its HTTP server costs, and ours has to pay for its own.
- Content is what a client would show: text that is not empty, or a piece of a tool call.

Source: https://platform.openai.com/docs/api-reference/chat-streaming
"""

import json
from dataclasses import dataclass, field
from typing import Any


class BadStream(Exception):
    """What came is no whole answer; says what it was."""


@dataclass(slots=True)
class Call:
    """A tool call as it grew."""

    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A whole answer. Times in seconds on the clock of whoever read it; `content_at` has one for
    each part with content, in order. Of `prompt_tokens` `cached_tokens` were not computed again."""

    asked_at: float
    content_at: tuple[float, ...]
    ended_at: float
    text: str
    calls: tuple[Call, ...]
    finish_reason: str
    prompt_tokens: int
    cached_tokens: int
    output_tokens: int

    @property
    def first_token_s(self) -> float:
        """From the question to the first content."""
        return self.content_at[0] - self.asked_at

    @property
    def whole_s(self) -> float:
        """From the question to the end of the answer."""
        return self.ended_at - self.asked_at


@dataclass(slots=True)
class Reading:
    """An answer on its way, asked for at `asked_at`."""

    asked_at: float
    content_at: list[float] = field(default_factory=list)
    _rest: bytes = b""
    _text: list[str] = field(default_factory=list)
    _calls: dict[int, Call] = field(default_factory=dict)
    _finish_reason: str = ""
    _usage: dict[str, Any] | None = None
    _done: bool = False

    def feed(self, data: bytes, at: float) -> None:
        """More of the stream, which came at `at`. Raises `BadStream`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line.removeprefix(b"data:").strip(), at)

    def answer(self, at: float) -> Answer:
        """The whole of it, ended at `at`. Raises `BadStream`."""
        if not self._done or not self._finish_reason or self._usage is None:
            raise BadStream(f"the stream ended early, after {''.join(self._text)[-200:]!r}")
        if not self.content_at:
            raise BadStream(f"an answer without content, ended by {self._finish_reason!r}")
        details = self._usage.get("prompt_tokens_details") or {}
        return Answer(
            asked_at=self.asked_at,
            content_at=tuple(self.content_at),
            ended_at=at,
            text="".join(self._text),
            calls=tuple(self._calls[index] for index in sorted(self._calls)),
            finish_reason=self._finish_reason,
            prompt_tokens=self._usage["prompt_tokens"],
            cached_tokens=details.get("cached_tokens", 0),
            output_tokens=self._usage["completion_tokens"],
        )

    def _event(self, data: bytes, at: float) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        chunk = json.loads(data)
        if "error" in chunk:
            raise BadStream(str(chunk["error"]))
        self._usage = chunk.get("usage") or self._usage
        for choice in chunk.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            if self._take(choice.get("delta") or {}):
                self.content_at.append(at)

    def _take(self, delta: dict[str, Any]) -> bool:
        """Whether there is content in it."""
        text, calls = delta.get("content") or "", delta.get("tool_calls") or ()
        self._text.append(text)
        for part in calls:
            call, said = self._calls.setdefault(part["index"], Call()), part.get("function") or {}
            call.name += said.get("name") or ""
            call.arguments += said.get("arguments") or ""
        return bool(text or calls)
