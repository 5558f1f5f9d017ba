"""OpenAI Responses: a stream or a whole body -> the events of an answer.

What no other protocol has a word for is left out: encrypted reasoning, annotations, and the
items of the provider's own tools, which no translated request offers. A refusal's text is text.

Source: https://platform.openai.com/docs/api-reference/responses-streaming and the types of the
`openai` package.
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping
from typing import Any, Literal

from fallback.core.answer import AnswerEvent, StopReason, Usage
from fallback.dialects.answer_builder import AnswerBuilder
from fallback.dialects.jsonvalues import gathered_text, integer, mapping, objects, parse, string
from fallback.dialects.upstream import event_object

_KINDS: Mapping[str, Literal["function", "custom"]] = {
    "function_call": "function",
    "custom_tool_call": "custom",
}
_REASONS: Mapping[str, StopReason] = {
    "max_output_tokens": "max_tokens",
    "content_filter": "refusal",
}


class ResponsesReader:
    """Reads one stream. The number of input tokens is known only at its end."""

    def __init__(self, custom: Container[str]) -> None:
        self._builder = AnswerBuilder(custom)
        self._streamed: set[Hashable] = set()

    def __repr__(self) -> str:
        return f"<ResponsesReader {self._builder!r}>"

    def feed(self, event: bytes) -> list[AnswerEvent]:
        """The answer events that one whole raw event amounts to."""
        value = event_object(event)
        builder, key, delta = self._builder, value.get("output_index"), string(value.get("delta"))
        match value.get("type"):
            case "response.created" | "response.in_progress":
                builder.start()
            case "response.output_item.added":
                _begin_call(builder, key, mapping(value.get("item")))
            case "response.output_text.delta" | "response.refusal.delta":
                self._streamed.add(key)
                builder.text(delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                self._streamed.add(key)
                builder.thinking(delta)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                builder.arguments(key, delta)
            case "response.output_item.done":
                self._end_item(key, mapping(value.get("item")))
            case "response.completed" | "response.incomplete":
                _finish(builder, mapping(value.get("response")))
        return builder.take()

    def _end_item(self, key: Hashable, item: Mapping[str, Any]) -> None:
        """Some servers send an item whole, without its pieces before."""
        if key not in self._streamed and not self._builder.has_arguments(key):
            _read_item(self._builder, key, item)
        self._builder.end_call(key)


def read_whole(body: bytes, custom: Container[str]) -> list[AnswerEvent]:
    """The events of a whole body. Raises `ValueError` if it holds no answer."""
    response = mapping(parse(body))
    if response.get("status") == "failed" or not isinstance(response.get("output"), list):
        raise ValueError("the answer failed, or has no `output`")
    builder = AnswerBuilder(custom)
    builder.start(_usage(response).input_tokens)
    for key, item in enumerate(objects(response["output"])):
        _read_item(builder, key, item)
        builder.end_call(key)
    _finish(builder, response)
    return builder.take()


def _begin_call(builder: AnswerBuilder, key: Hashable, item: Mapping[str, Any]) -> None:
    if (kind := _KINDS.get(string(item.get("type")))) is not None:
        builder.call(key, string(item.get("call_id")), string(item.get("name")), kind)


def _read_item(builder: AnswerBuilder, key: Hashable, item: Mapping[str, Any]) -> None:
    match item.get("type"):
        case "message":
            for part in objects(item.get("content")):
                builder.text(string(part.get("text")) or string(part.get("refusal")))
        case "reasoning":
            builder.thinking(gathered_text([item.get("summary"), item.get("content")]))
        case "function_call" | "custom_tool_call":
            _begin_call(builder, key, item)
            builder.arguments(key, string(item.get("arguments")) or string(item.get("input")))


def _finish(builder: AnswerBuilder, response: Mapping[str, Any]) -> None:
    details = mapping(response.get("incomplete_details"))
    builder.finish(_REASONS.get(string(details.get("reason")), "end"), _usage(response))


def _usage(response: Mapping[str, Any]) -> Usage:
    said = mapping(response.get("usage"))
    details = mapping(said.get("input_tokens_details"))
    return Usage(
        input_tokens=integer(said.get("input_tokens")) or 0,
        output_tokens=integer(said.get("output_tokens")) or 0,
        cached_tokens=integer(details.get("cached_tokens")) or 0,
    )
