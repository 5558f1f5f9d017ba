"""Anthropic Messages: a stream or a whole body -> the events of an answer.

What no other protocol has a word for is left out: signatures, citations, and the blocks of the
provider's own tools, which no translated request offers. A refusal's text is text.

Source: https://docs.claude.com/en/docs/build-with-claude/streaming and the types of the
`anthropic` package.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from fallback.core.answer import AnswerEvent, StopReason, Usage
from fallback.dialects.answer_builder import AnswerBuilder
from fallback.dialects.jsonvalues import dump_text, integer, mapping, objects, parse, string
from fallback.dialects.upstream import event_object

_REASONS: Mapping[str, StopReason] = {
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "model_context_window_exceeded": "max_tokens",
    "tool_use": "tool_calls",
    "refusal": "refusal",
}


class AnthropicReader:
    """Reads one stream."""

    def __init__(self, custom: Container[str]) -> None:
        self._builder = AnswerBuilder(custom)
        self._usage: dict[str, Any] = {}
        self._ending: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<AnthropicReader {self._builder!r}>"

    def feed(self, event: bytes) -> list[AnswerEvent]:
        """The answer events that one whole raw event amounts to."""
        value = event_object(event)
        builder, index = self._builder, value.get("index")
        match value.get("type"):
            case "message_start":
                self._add_usage(mapping(value.get("message")))
                builder.start(_usage(self._usage).input_tokens)
            case "content_block_start":
                _read_block(builder, index, mapping(value.get("content_block")))
            case "content_block_delta":
                _read_delta(builder, index, mapping(value.get("delta")))
            case "content_block_stop":
                builder.end_call(index)
            case "message_delta":
                self._add_usage(value)
                self._ending = {**self._ending, **mapping(value.get("delta"))}
            case "message_stop":
                _finish(builder, self._ending, self._usage)
        return builder.take()

    def _add_usage(self, value: Mapping[str, Any]) -> None:
        said = mapping(value.get("usage"))
        # The counts of a later event are the whole so far; a null in it says nothing.
        self._usage |= {key: count for key, count in said.items() if count is not None}


def read_whole(body: bytes, custom: Container[str]) -> list[AnswerEvent]:
    """The events of a whole body. Raises `ValueError` if it holds no message."""
    message = mapping(parse(body))
    if not isinstance(message.get("content"), list):
        raise ValueError("the answer has no `content`")
    usage = mapping(message.get("usage"))
    builder = AnswerBuilder(custom)
    builder.start(_usage(usage).input_tokens)
    for index, block in enumerate(objects(message["content"])):
        _read_block(builder, index, block)
        builder.end_call(index)
    _finish(builder, message, usage)
    return builder.take()


def _read_block(builder: AnswerBuilder, index: Any, block: Mapping[str, Any]) -> None:
    match block.get("type"):
        case "text":
            builder.text(string(block.get("text")))
        case "thinking":
            builder.thinking(string(block.get("thinking")))
        case "tool_use":
            builder.call(index, string(block.get("id")), string(block.get("name")))
            if input_ := mapping(block.get("input")):
                builder.arguments(index, dump_text(input_))


def _read_delta(builder: AnswerBuilder, index: Any, delta: Mapping[str, Any]) -> None:
    match delta.get("type"):
        case "text_delta":
            builder.text(string(delta.get("text")))
        case "thinking_delta":
            builder.thinking(string(delta.get("thinking")))
        case "input_json_delta":
            builder.arguments(index, string(delta.get("partial_json")))


def _finish(builder: AnswerBuilder, ending: Mapping[str, Any], usage: Mapping[str, Any]) -> None:
    reason = _REASONS.get(string(ending.get("stop_reason")), "end")
    builder.finish(reason, _usage(usage), string(ending.get("stop_sequence")) or None)


def _usage(said: Mapping[str, Any]) -> Usage:
    # Here, unlike in OpenAI's dialects, `input_tokens` leaves out those of the cache.
    read = integer(said.get("cache_read_input_tokens")) or 0
    written = integer(said.get("cache_creation_input_tokens")) or 0
    return Usage(
        input_tokens=(integer(said.get("input_tokens")) or 0) + read + written,
        output_tokens=integer(said.get("output_tokens")) or 0,
        cached_tokens=read,
    )
