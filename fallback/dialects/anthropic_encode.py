"""Anthropic Messages: the events of an answer -> a stream or a whole body.

Source: https://docs.claude.com/en/docs/build-with-claude/streaming and the types of the
`anthropic` package. An answer without text has `content: []`, as the cloud's own has: an empty
text block would be refused when the client sends it back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

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
from fallback.dialects.base import AnswerContext
from fallback.dialects.blocks import (
    BlockStepper,
    CallBlock,
    Step,
    TextBlock,
    TextEnded,
    TextStarted,
    ThinkingBlock,
    ThinkingEnded,
    ThinkingStarted,
    whole_blocks,
)
from fallback.dialects.jsonvalues import dump, mapping, parse
from fallback.dialects.sse import format_event

MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
PING = b'event: ping\ndata: {"type":"ping"}\n\n'

_STOP_REASONS: Mapping[StopReason, str] = {
    "end": "end_turn",
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}
# Being busy or not ready passes by itself, which is what `overloaded_error` tells a client.
_PASSING = frozenset({"local_engine_busy", "local_engine_not_ready", "no_tier_available"})


def event(kind: str, **fields: Any) -> bytes:
    """One event of the stream, its type given twice as this dialect does."""
    return format_event(dump({"type": kind, **fields}), kind)


class AnthropicStream:
    """Writes one answer as server-sent events."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._stepper = BlockStepper(thinking=context.thinking)
        self._index = -1

    def __repr__(self) -> str:
        return f"<AnthropicStream {self._context.token} blocks={self._index + 1}>"

    def encode(self, event: AnswerEvent) -> bytes:
        return b"".join(map(self._step, self._stepper.steps(event)))

    def keepalive(self) -> bytes:
        return PING

    def error(self, message: str, *, code: str) -> bytes:
        return error_event(message, code)

    def _step(self, step: Step) -> bytes:
        match step:
            case Started(input_tokens=count):
                return event("message_start", message=_opening(self._context, count))
            case TextStarted():
                return self._start({"type": "text", "text": ""})
            case TextDelta(text):
                return self._delta({"type": "text_delta", "text": text})
            case ThinkingStarted():
                return self._start(_thinking(""))
            case ThinkingDelta(text):
                return self._delta({"type": "thinking_delta", "thinking": text})
            case ThinkingEnded():
                return self._delta({"type": "signature_delta", "signature": ""}) + self._end_block()
            case ToolCallStarted():
                return self._start(_tool_use(self._context, self._index + 1, step, {}))
            case ToolCallDelta(arguments):
                return self._delta({"type": "input_json_delta", "partial_json": arguments})
            case TextEnded() | ToolCallEnded():
                return self._end_block()
            case Finished():
                return ending_events(step, usage_fields(step.usage))

    def _end_block(self) -> bytes:
        return event("content_block_stop", index=self._index)

    def _start(self, block: Mapping[str, Any]) -> bytes:
        self._index += 1
        return event("content_block_start", index=self._index, content_block=block)

    def _delta(self, delta: Mapping[str, Any]) -> bytes:
        return event("content_block_delta", index=self._index, delta=delta)


def ending_events(finished: Finished, usage: Mapping[str, int], **fields: Any) -> bytes:
    """The last two events of a message; `fields` are told beside its usage."""
    delta = _ending(finished)
    return event("message_delta", delta=delta, usage=usage, **fields) + MESSAGE_STOP


def error_event(message: str, code: str) -> bytes:
    """The event that tells a client, in mid-stream, that the answer is broken."""
    type_ = "overloaded_error" if code in _PASSING else "api_error"
    return event("error", error={"type": type_, "message": message, "code": code})


def whole(context: AnswerContext, events: Iterable[AnswerEvent]) -> bytes:
    """The body of a non-streamed answer."""
    blocks, finished = whole_blocks(events, thinking=context.thinking)
    message = _opening(context, finished.usage.input_tokens)
    content: list[Mapping[str, Any]] = []
    for index, block in enumerate(blocks):
        match block:
            case TextBlock(text):
                content.append({"type": "text", "text": text})
            case ThinkingBlock(text):
                content.append(_thinking(text))
            case CallBlock(call, arguments):
                # One that the token limit cut short is left out: a client that overlooks the
                # stop reason would run the tool without its arguments.
                if (input_ := _input(arguments)) is not None:
                    content.append(_tool_use(context, index, call, input_))
    return dump(
        {**message, **_ending(finished), "content": content, "usage": usage_fields(finished.usage)}
    )


def _opening(context: AnswerContext, input_tokens: int) -> dict[str, Any]:
    return {
        "id": f"msg_{context.token}",
        "type": "message",
        "role": "assistant",
        "model": context.served_model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_fields(Usage(input_tokens=input_tokens, output_tokens=0)),
        "provenance": context.provenance,
    }


def _ending(finished: Finished) -> dict[str, Any]:
    reason = _STOP_REASONS[finished.reason]
    return {"stop_reason": reason, "stop_sequence": finished.stop_sequence}


def usage_fields(usage: Usage) -> dict[str, int]:
    """What a message says of its tokens."""
    # Here, unlike in OpenAI's dialects, `input_tokens` leaves out those read from the cache.
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.output_tokens,
    }


def _thinking(text: str) -> dict[str, Any]:
    # Nobody but the cloud can sign, and the client's types want a signature.
    return {"type": "thinking", "thinking": text, "signature": ""}


def _tool_use(
    context: AnswerContext, index: int, call: ToolCallStarted, input_: Mapping[str, Any]
) -> dict[str, Any]:
    # The engine's ids are unique in one answer only; a client's history holds many answers.
    id_ = f"toolu_{context.token}_{index}"
    return {"type": "tool_use", "id": id_, "name": call.name, "input": input_}


def _input(arguments: str) -> Mapping[str, Any] | None:
    """The arguments as an object; None if the token limit cut them short."""
    try:
        return mapping(parse(arguments))
    except ValueError:
        return None
