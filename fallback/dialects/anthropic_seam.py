"""Anthropic Messages: how to go on with a stream that broke off.

Source: https://docs.claude.com/en/docs/build-with-claude/streaming and the types of the
`anthropic` package. The open content block goes on under its own index; `message_delta` tells
the usage of the whole answer, its input as the cloud counted it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

from fallback.core.answer import Finished, PartialAnswer, SaidCall, Started
from fallback.core.conversation import Text
from fallback.dialects.anthropic_encode import AnthropicStream, ending_events, usage_fields
from fallback.dialects.base import AnswerContext, Seam, Unsplicable
from fallback.dialects.blocks import BlockStepper, Step
from fallback.dialects.jsonvalues import dump_text, integer, mapping, optional_string, string
from fallback.dialects.seam import CannotSplice, found, said_call, spent_tokens, told

Open: TypeAlias = Literal["nothing", "text", "call", "whole-call"]

_THINKING = ("thinking", "redacted_thinking")
_INPUT_KEYS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


def seam(sent: bytes) -> Seam | Unsplicable:
    """`Dialect.seam` of this dialect."""
    return found(_seam, sent)


def _seam(events: Iterable[Mapping[str, Any]]) -> Seam:
    reader = _Reader()
    for data in events:
        reader.take(data["type"], data)
    said, thoughts = reader.said(), reader.thoughts()
    return Seam(
        said=said,
        model=reader.model,
        output_tokens=spent_tokens(said, thoughts),
        estimated=True,
        signed_thinking=reader.thinks,
        encoder=partial(
            SplicedAnthropicStream, index=reader.index, open_=reader.open, usage=reader.usage
        ),
    )


class _Block:
    """A content block as far as it came."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        self.kind = string(start.get("type"))
        self.name = string(start.get("name"))
        self.pieces = [string(start.get("text")) or string(start.get("thinking"))]
        # Servers that do not stream arguments give them here at once.
        self.input = mapping(start.get("input"))
        self.open = True

    @property
    def content(self) -> str:
        text = "".join(self.pieces)
        return dump_text(self.input) if self.input and not text else text


class _Reader:
    """Folds the events of a message."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.usage: dict[str, int] = {}
        self.index = -1
        self._blocks: list[_Block] = []

    @property
    def thinks(self) -> bool:
        return any(block.kind in _THINKING for block in self._blocks)

    @property
    def open(self) -> Open:
        """What is open; raises `CannotSplice` for what only the cloud can close."""
        block = self._blocks[-1] if self._blocks else None
        if block is None or not block.open:
            return "nothing"
        if block.kind in _THINKING:
            raise CannotSplice("thinking-open")
        if block.kind == "text":
            # Clients send their history back, and the API refuses a blank text in it.
            if not block.content.strip():
                raise CannotSplice("blank-text")
            return "text"
        return "whole-call" if _call(block).whole else "call"

    def said(self) -> PartialAnswer:
        return PartialAnswer(
            tuple(
                Text(block.content) if block.kind == "text" else _call(block)
                for block in self._blocks
                if block.kind not in _THINKING
            )
        )

    def thoughts(self) -> str:
        return "".join(block.content for block in self._blocks if block.kind in _THINKING)

    def take(self, kind: str, data: Mapping[str, Any]) -> None:
        if kind == "message_start":
            message = mapping(data.get("message"))
            self.model = optional_string(message.get("model"))
            self._count(mapping(message.get("usage")))
        elif kind == "content_block_start":
            self._start(data)
        elif kind == "content_block_delta":
            self._grow(mapping(data.get("delta")))
        elif kind == "content_block_stop" and self._blocks:
            self._blocks[-1].open = False
        elif kind in ("message_delta", "message_stop"):
            raise CannotSplice("finished")

    def _start(self, data: Mapping[str, Any]) -> None:
        start = mapping(data.get("content_block"))
        kind = string(start.get("type"))
        if kind not in ("text", "tool_use", *_THINKING):
            # Calls and results of the provider's own tools, and what may come yet.
            server = kind.endswith(("_tool_use", "_tool_result"))
            raise CannotSplice("server-tools" if server else "unknown-content")
        if start.get("citations"):
            raise CannotSplice("citations")
        if self._blocks and self._blocks[-1].open:
            raise CannotSplice("interleaved")
        self.index = integer(data.get("index")) or len(self._blocks)
        self._blocks.append(_Block(start))

    def _grow(self, delta: Mapping[str, Any]) -> None:
        kind = string(delta.get("type"))
        if kind == "citations_delta":
            raise CannotSplice("citations")
        if not self._blocks:
            return
        for key in ("text", "partial_json", "thinking"):
            self._blocks[-1].pieces.append(string(delta.get(key)))

    def _count(self, usage: Mapping[str, Any]) -> None:
        counts = {key: integer(usage.get(key)) for key in _INPUT_KEYS}
        self.usage = {key: count for key, count in counts.items() if count is not None}


def _call(block: _Block) -> SaidCall:
    return said_call(block.name, "function", block.content, closed=not block.open)


class SplicedAnthropicStream(AnthropicStream):
    """Goes on with a message whose last block has `index`; `open_` says what is open in it and
    `usage` what the cloud counted of the input."""

    def __init__(
        self, context: AnswerContext, *, index: int, open_: Open, usage: Mapping[str, int]
    ) -> None:
        super().__init__(context)
        self._index = index
        self._stepper = BlockStepper(text_open=open_ == "text")
        self._call_is_whole = open_ == "whole-call"
        self._input_usage = usage

    def _step(self, step: Step) -> bytes:
        if isinstance(step, Started):
            return told(self._context) + (self._end_block() if self._call_is_whole else b"")
        if isinstance(step, Finished):
            usage = {**usage_fields(step.usage), **self._input_usage}
            return ending_events(step, usage, provenance=self._context.provenance)
        return super()._step(step)
