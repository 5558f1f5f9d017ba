"""OpenAI Chat Completions: a stream or a whole body -> the events of an answer.

The first choice is read. What no other protocol has a word for is left out: log probabilities,
audio, annotations. A refusal's text is text.

Source: https://platform.openai.com/docs/api-reference/chat-streaming and the types of the
`openai` package; reasoning as DeepSeek, llama-server and vLLM tell it (`reasoning_content`) and
as Ollama and OpenRouter do (`reasoning`).
"""

from __future__ import annotations

from collections.abc import Container, Hashable, Mapping
from typing import Any, Literal

from fallback.core.answer import AnswerEvent, StopReason, Usage
from fallback.dialects.answer_builder import AnswerBuilder
from fallback.dialects.jsonvalues import gathered_text, integer, mapping, objects, parse, string
from fallback.dialects.sse import event_data
from fallback.dialects.upstream import DONE_DATA, event_object

_REASONS: Mapping[str, StopReason] = {
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}


class ChatReader:
    """Reads one stream. The number of input tokens is known only at its end."""

    def __init__(self, custom: Container[str]) -> None:
        self._builder = AnswerBuilder(custom)
        self._reason = ""
        self._usage: Mapping[str, Any] = {}
        self._ids: dict[int | None, str] = {}

    def __repr__(self) -> str:
        return f"<ChatReader {self._builder!r}>"

    def feed(self, event: bytes) -> list[AnswerEvent]:
        """The answer events that one whole raw event amounts to."""
        if event_data(event)[1].strip() == DONE_DATA:
            self._builder.finish(_REASONS.get(self._reason, "end"), _usage(self._usage))
            return self._builder.take()
        chunk = event_object(event)
        self._usage = mapping(chunk.get("usage")) or self._usage
        for choice in objects(chunk.get("choices")):
            if not choice.get("index"):
                self._builder.start()
                self._read_delta(mapping(choice.get("delta")))
                self._reason = string(choice.get("finish_reason")) or self._reason
        return self._builder.take()

    def _read_delta(self, delta: Mapping[str, Any]) -> None:
        _read_texts(self._builder, delta)
        for call in objects(delta.get("tool_calls")):
            _read_call(self._builder, self._key(call), call)

    def _key(self, call: Mapping[str, Any]) -> Hashable:
        """Which call a piece belongs to. Some servers number all calls 0, each with its id."""
        place, id_ = integer(call.get("index")), string(call.get("id"))
        if id_ and (place not in self._ids or mapping(call.get("function")).get("name")):
            self._ids[place] = id_
        return place, self._ids.get(place)


def read_whole(body: bytes, custom: Container[str]) -> list[AnswerEvent]:
    """The events of a whole body. Raises `ValueError` if it holds no answer."""
    completion = mapping(parse(body))
    choices = objects(completion.get("choices"))
    if not choices:
        raise ValueError("the answer has no `choices`")
    message, usage = mapping(choices[0].get("message")), _usage(mapping(completion.get("usage")))
    builder = AnswerBuilder(custom)
    builder.start(usage.input_tokens)
    _read_texts(builder, message)
    for key, call in enumerate(objects(message.get("tool_calls"))):
        _read_call(builder, key, call)
        builder.end_call(key)
    builder.finish(_REASONS.get(string(choices[0].get("finish_reason")), "end"), usage)
    return builder.take()


def _read_texts(builder: AnswerBuilder, said: Mapping[str, Any]) -> None:
    builder.thinking(string(said.get("reasoning_content")) or string(said.get("reasoning")))
    builder.text(gathered_text(said.get("content")))
    builder.text(string(said.get("refusal")))


def _read_call(builder: AnswerBuilder, key: Hashable, call: Mapping[str, Any]) -> None:
    inner = mapping(call.get("function")) or mapping(call.get("custom"))
    if name := string(inner.get("name")):
        kind: Literal["function", "custom"] = "custom" if "custom" in call else "function"
        builder.call(key, string(call.get("id")), name, kind)
    builder.arguments(key, string(inner.get("arguments")) or string(inner.get("input")))


def _usage(said: Mapping[str, Any]) -> Usage:
    details = mapping(said.get("prompt_tokens_details"))
    return Usage(
        input_tokens=integer(said.get("prompt_tokens")) or 0,
        output_tokens=integer(said.get("completion_tokens")) or 0,
        cached_tokens=integer(details.get("cached_tokens")) or 0,
    )
