"""OpenAI Chat Completions: the events of an answer -> a stream or a whole body.

Source: https://platform.openai.com/docs/api-reference/chat-streaming and the types of the
`openai` package. One choice is answered, whatever `n` asks for. The API has no field for
reasoning; `reasoning_content` is what servers of open models call it, and clients read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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
    Block,
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
from fallback.dialects.jsonvalues import dump, mapping
from fallback.dialects.openai_chat_decode import wants_legacy_calls
from fallback.dialects.openai_common import error_object
from fallback.dialects.sse import format_event

DONE = b"data: [DONE]\n\n"

_FINISH_REASONS: Mapping[StopReason, str] = {
    "end": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
}


_INPUT_KEYS: Mapping[str, str] = {"function": "arguments", "custom": "input"}


class ChatStream:
    """Writes one answer as chunks. The provenance is on the first chunk and the last ones."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._head = _head(context, "chat.completion.chunk")
        self._stepper = BlockStepper(thinking=context.thinking)
        self._legacy = wants_legacy_calls(context.request)
        self._calls: list[ToolCallStarted] = []

    def __repr__(self) -> str:
        return f"<ChatStream {self._context.token} calls={len(self._calls)}>"

    def encode(self, event: AnswerEvent) -> bytes:
        return b"".join(map(self._step, self._stepper.steps(event)))

    def keepalive(self) -> bytes:
        return self._delta({})

    def error(self, message: str, *, code: str) -> bytes:
        return error_event(message, code)

    def _step(self, step: Step) -> bytes:
        match step:
            case Started():
                opening = {"role": "assistant", "content": "", "refusal": None}
                return self._delta(opening, provenance=self._context.provenance)
            case TextDelta(text):
                return self._delta({"content": text})
            case ThinkingDelta(text):
                return self._delta({"reasoning_content": text})
            case ToolCallStarted():
                self._calls.append(step)
                return self._call_delta({"name": step.name}, "")
            case ToolCallDelta(arguments):
                return self._call_delta({}, arguments)
            case Finished():
                return self._end(step)
            case (
                TextStarted() | TextEnded() | ThinkingStarted() | ThinkingEnded() | ToolCallEnded()
            ):
                return b""

    def _call_delta(self, head: Mapping[str, str], arguments: str) -> bytes:
        call, index = self._calls[-1], len(self._calls) - 1
        said = {**head, _INPUT_KEYS[call.kind]: arguments}
        if self._legacy:
            return self._delta({"function_call": said})
        opening = {"id": _call_id(self._context, index), "type": call.kind} if head else {}
        return self._delta({"tool_calls": [{"index": index, **opening, call.kind: said}]})

    def _end(self, finished: Finished) -> bytes:
        provenance = self._context.provenance
        reason = _finish_reason(finished, self._legacy)
        end = self._delta({}, finish_reason=reason, provenance=provenance)
        if self._wants_usage():
            end += self._chunk(choices=[], usage=_usage(finished.usage), provenance=provenance)
        return end + DONE

    def _delta(
        self, delta: Mapping[str, Any], finish_reason: str | None = None, **fields: Any
    ) -> bytes:
        if self._wants_usage():
            fields["usage"] = None
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return self._chunk(choices=[choice], **fields)

    def _chunk(self, **fields: Any) -> bytes:
        return format_event(dump({**self._head, **fields}))

    def _wants_usage(self) -> bool:
        options = mapping(self._context.request.get("stream_options"))
        return options.get("include_usage") is True


def error_event(message: str, code: str) -> bytes:
    """The chunk that tells a client, in mid-stream, that the answer is broken."""
    return format_event(dump({"error": error_object(500, message, code)}))


def whole(context: AnswerContext, events: Iterable[AnswerEvent]) -> bytes:
    """The body of a non-streamed answer."""
    blocks, finished = whole_blocks(events, thinking=context.thinking)
    legacy = wants_legacy_calls(context.request)
    choice = {
        "index": 0,
        "message": _message(context, blocks, legacy),
        "logprobs": None,
        "finish_reason": _finish_reason(finished, legacy),
    }
    return dump(
        {
            **_head(context, "chat.completion"),
            "choices": [choice],
            "usage": _usage(finished.usage),
            "provenance": context.provenance,
        }
    )


def _message(context: AnswerContext, blocks: Sequence[Block], legacy: bool) -> dict[str, Any]:
    text = "".join(block.text for block in blocks if isinstance(block, TextBlock))
    calls = [block for block in blocks if isinstance(block, CallBlock)]
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if thoughts := "".join(block.text for block in blocks if isinstance(block, ThinkingBlock)):
        message["reasoning_content"] = thoughts
    if calls and not text:
        message["content"] = None
    if calls and legacy:
        message["function_call"] = _said(calls[0])
    elif calls:
        message["tool_calls"] = [
            {"id": _call_id(context, index), "type": block.call.kind, block.call.kind: _said(block)}
            for index, block in enumerate(calls)
        ]
    return message


def _said(block: CallBlock) -> dict[str, str]:
    return {"name": block.call.name, _INPUT_KEYS[block.call.kind]: block.arguments}


def _call_id(context: AnswerContext, index: int) -> str:
    # The engine's ids are unique in one answer only; a client's history holds many answers.
    return f"call_{context.token}_{index}"


def _finish_reason(finished: Finished, legacy: bool) -> str:
    if legacy and finished.reason == "tool_calls":
        return "function_call"
    return _FINISH_REASONS[finished.reason]


def _head(context: AnswerContext, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{context.token}",
        "object": kind,
        "created": context.created_s,
        "model": context.served_model,
        "system_fingerprint": None,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": 0},
    }
