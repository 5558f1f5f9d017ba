"""A stream of events -> an answer with its times. Pure: the time is an argument.

Rules of this file:
- Whoever answers is read alike: text, tool calls, usage; `timings` of llama-server are not used,
  for they leave out what its HTTP server costs, and ours has to pay for its own.
- Content is what a client would show: text that is not empty, or a piece of a tool call.

Sources: https://platform.openai.com/docs/api-reference/chat-streaming and
https://docs.claude.com/en/docs/build-with-claude/streaming
"""

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
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

    @property
    def prefilled_tokens(self) -> int:
        """What of the prompt had to be computed."""
        return self.prompt_tokens - self.cached_tokens


class Reading(ABC):
    """An answer on its way, asked for at `asked_at`."""

    def __init__(self, asked_at: float) -> None:
        self.asked_at = asked_at
        self.content_at: list[float] = []
        self._rest = b""
        self._text: list[str] = []
        self._calls: dict[int, Call] = {}
        self._finish_reason = ""
        self._usage: dict[str, Any] = {}
        self._done = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} parts={len(self.content_at)} done={self._done}>"

    def feed(self, data: bytes, at: float) -> None:
        """More of the stream, which came at `at`. Raises `BadStream`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line.startswith(b"data:"):
                self._event(line.removeprefix(b"data:").strip(), at)

    def answer(self, at: float) -> Answer:
        """The whole of it, ended at `at`. Raises `BadStream`."""
        if not self._done or not self._finish_reason or not self._usage:
            raise BadStream(f"the stream ended early, after {''.join(self._text)[-200:]!r}")
        if not self.content_at:
            raise BadStream(f"an answer without content, ended by {self._finish_reason!r}")
        prompt, cached, output = self._tokens()
        return Answer(
            asked_at=self.asked_at,
            content_at=tuple(self.content_at),
            ended_at=at,
            text="".join(self._text),
            calls=tuple(self._calls[index] for index in sorted(self._calls)),
            finish_reason=self._finish_reason,
            prompt_tokens=prompt,
            cached_tokens=cached,
            output_tokens=output,
        )

    def _event(self, data: bytes, at: float) -> None:
        if data == b"[DONE]":
            self._done = True
            return
        event = json.loads(data)
        if event.get("error"):
            raise BadStream(str(event["error"]))
        if self._take(event):
            self.content_at.append(at)

    @abstractmethod
    def _take(self, event: dict[str, Any]) -> bool:
        """Note what an event says; whether there is content in it."""

    @abstractmethod
    def _tokens(self) -> tuple[int, int, int]:
        """Of the prompt, of these cached, of the answer."""


class ChatReading(Reading):
    """Chunks of chat completions, with usage."""

    def _take(self, event: dict[str, Any]) -> bool:
        self._usage = event.get("usage") or self._usage
        has_content = False
        for choice in event.get("choices", ()):
            self._finish_reason = choice.get("finish_reason") or self._finish_reason
            has_content |= self._delta(choice.get("delta") or {})
        return has_content

    def _delta(self, delta: dict[str, Any]) -> bool:
        text, calls = delta.get("content") or "", delta.get("tool_calls") or ()
        self._text.append(text)
        for part in calls:
            call, said = self._calls.setdefault(part["index"], Call()), part.get("function") or {}
            call.name += said.get("name") or ""
            call.arguments += said.get("arguments") or ""
        return bool(text or calls)

    def _tokens(self) -> tuple[int, int, int]:
        details = self._usage.get("prompt_tokens_details") or {}
        cached = details.get("cached_tokens", 0)
        return self._usage["prompt_tokens"], cached, self._usage["completion_tokens"]


class MessagesReading(Reading):
    """Events of Anthropic's Messages."""

    def _take(self, event: dict[str, Any]) -> bool:
        match event["type"]:
            case "message_start":
                self._usage |= event["message"]["usage"]
            case "message_delta":
                self._usage |= event.get("usage") or {}
                self._finish_reason = event["delta"].get("stop_reason") or ""
            case "message_stop":
                self._done = True
            case "content_block_start":
                return self._block(event["index"], event["content_block"])
            case "content_block_delta":
                return self._delta(event["index"], event["delta"])
        return False

    def _block(self, index: int, block: dict[str, Any]) -> bool:
        if block["type"] == "tool_use":
            self._calls[index] = Call(name=block["name"])
        return index in self._calls

    def _delta(self, index: int, delta: dict[str, Any]) -> bool:
        text, arguments = delta.get("text", ""), delta.get("partial_json", "")
        self._text.append(text)
        if arguments:
            self._calls[index].arguments += arguments
        return bool(text or arguments)

    def _tokens(self) -> tuple[int, int, int]:
        cached = self._usage.get("cache_read_input_tokens") or 0
        return self._usage["input_tokens"] + cached, cached, self._usage["output_tokens"]
