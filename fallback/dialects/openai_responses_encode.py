"""OpenAI Responses: the events of an answer -> a stream or a whole body.

Source: https://platform.openai.com/docs/api-reference/responses-streaming and the types of the
`openai` package. The stream's last event repeats the whole response, so the encoder keeps it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

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
    Step,
    TextEnded,
    TextStarted,
    ThinkingEnded,
    ThinkingStarted,
)
from fallback.dialects.jsonvalues import dump
from fallback.dialects.openai_responses_echo import echoed, namespace_of
from fallback.dialects.sse import format_event

Named: TypeAlias = tuple[str, dict[str, Any]]
"""The type of an event and its fields, before it has its number."""


class _CallForm(NamedTuple):
    """How a kind of tool call is written: item type and id prefix, key of the input, event."""

    item: str
    prefix: str
    key: str
    event: str


CALL_FORMS: Mapping[str, _CallForm] = {
    "function": _CallForm("function_call", "fc", "arguments", "response.function_call_arguments"),
    "custom": _CallForm("custom_tool_call", "ctc", "input", "response.custom_tool_call_input"),
}

_CUT_REASONS: Mapping[StopReason | None, str] = {
    "max_tokens": "max_output_tokens",
    "refusal": "content_filter",
}


class ResponsesStream:
    """Writes one answer as server-sent events, numbered from 0.

    The provenance is on the first event and on the last; in between it would only repeat.
    `response` is the whole response, empty until `Finished` is encoded.
    """

    def __init__(self, context: AnswerContext) -> None:
        self.response: dict[str, Any] = {}
        self._context = context
        self._base = {**_head(context), **echoed(context.request)}
        self._stepper = BlockStepper(thinking=context.thinking)
        self._sequence = 0
        self._output: list[dict[str, Any]] = []
        self._open: dict[str, Any] = {}
        self._form = CALL_FORMS["function"]
        self._pieces: list[str] = []

    def __repr__(self) -> str:
        return f"<ResponsesStream {self._context.token} items={len(self._output)}>"

    def encode(self, event: AnswerEvent) -> bytes:
        return b"".join(
            self._event(named) for step in self._stepper.steps(event) for named in self._step(step)
        )

    def keepalive(self) -> bytes:
        return self._event(("response.in_progress", {"response": self._base}))

    def error(self, message: str, *, code: str) -> bytes:
        # Codex gives up on the codes it knows and tries again on this one.
        error = {"code": "server_error", "message": message, "type": code}
        failed = {"status": "failed", "error": error, "provenance": self._context.provenance}
        return self._event(
            ("response.failed", {"response": {**self._base, "output": self._output, **failed}})
        )

    def _final(self, finished: Finished) -> dict[str, Any]:
        cut = _CUT_REASONS.get(finished.reason)
        return {
            **self._base,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": cut} if cut else None,
            "output": self._output,
            "usage": _usage(finished.usage),
            "provenance": self._context.provenance,
        }

    def _event(self, named: Named) -> bytes:
        kind, fields = named
        data = dump({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return format_event(data, kind)

    def _step(self, step: Step) -> Iterator[Named]:
        match step:
            case Started():
                created = {**self._base, "provenance": self._context.provenance}
                yield "response.created", {"response": created}
                yield "response.in_progress", {"response": self._base}
            case TextStarted():
                yield self._add(_message(self._context, len(self._output)))
                yield self._begin_text()
            case TextDelta(text):
                yield self._more("response.output_text", text, content_index=0, logprobs=[])
            case TextEnded(reason=reason):
                yield from self._end_text("incomplete" if reason in _CUT_REASONS else "completed")
            case ThinkingStarted():
                yield self._add(_reasoning(self._context, len(self._output)))
                yield self._thought("part.added", part=_summary(""))
            case ThinkingDelta(text):
                self._pieces.append(text)
                yield self._thought("text.delta", delta=text)
            case ThinkingEnded():
                yield from self._end_thinking()
            case ToolCallStarted():
                self._form = CALL_FORMS[step.kind]
                yield self._add(_call(self._context, len(self._output), step))
            case ToolCallDelta(arguments):
                yield self._more(self._form.event, arguments)
            case ToolCallEnded():
                yield from self._end_call()
            case Finished():
                self.response = self._final(step)
                yield f"response.{self.response['status']}", {"response": self.response}

    def _add(self, item: dict[str, Any]) -> Named:
        self._open, self._pieces = item, []
        index = len(self._output)
        return "response.output_item.added", {"output_index": index, "item": item}

    def _more(self, kind: str, delta: str, **fields: Any) -> Named:
        self._pieces.append(delta)
        return self._inside(f"{kind}.delta", delta=delta, **fields)

    def _begin_text(self) -> Named:
        return self._inside("response.content_part.added", content_index=0, part=_part(""))

    def _end_text(self, status: str) -> Iterator[Named]:
        text = "".join(self._pieces)
        yield self._inside("response.output_text.done", text=text, content_index=0, logprobs=[])
        yield self._end_part()
        yield self._close_text(status)

    def _end_part(self) -> Named:
        part = _part("".join(self._pieces))
        return self._inside("response.content_part.done", part=part, content_index=0)

    def _close_text(self, status: str) -> Named:
        return self._close({"content": [_part("".join(self._pieces))], "status": status})

    def _thought(self, kind: str, **fields: Any) -> Named:
        return self._inside(f"response.reasoning_summary_{kind}", summary_index=0, **fields)

    def _end_thinking(self) -> Iterator[Named]:
        text = "".join(self._pieces)
        yield self._thought("text.done", text=text)
        yield self._thought("part.done", part=_summary(text))
        yield self._close({"summary": [_summary(text)], "status": "completed"})

    def _end_call(self) -> Iterator[Named]:
        yield self._inside(f"{self._form.event}.done", **self._input())
        yield self._close_call()

    def _close_call(self) -> Named:
        return self._close({**self._input(), "status": "completed"})

    def _input(self) -> dict[str, str]:
        return {self._form.key: "".join(self._pieces)}

    def _close(self, changes: Mapping[str, Any]) -> Named:
        item = {**self._open, **changes}
        index = len(self._output)
        self._output.append(item)
        return "response.output_item.done", {"output_index": index, "item": item}

    def _inside(self, kind: str, **fields: Any) -> Named:
        place = {"item_id": self._open["id"], "output_index": len(self._output)}
        return kind, {**place, **fields}


def error_event(message: str, code: str) -> bytes:
    """The event that breaks off a stream of which no response is known, not even its id.

    The error is given twice, flat and nested: clients read the one or the other.
    """
    error = {"code": code, "message": message, "param": None}
    nested = {"type": "server_error", **error}
    data = {"type": "error", "sequence_number": 0, **error, "error": nested}
    return format_event(dump(data), "error")


def whole(context: AnswerContext, events: Iterable[AnswerEvent]) -> bytes:
    """The body of a non-streamed answer: what its stream would have ended with."""
    stream = ResponsesStream(context)
    for event in events:
        stream.encode(event)
    return dump(stream.response)


def _head(context: AnswerContext) -> dict[str, Any]:
    return {
        "id": f"resp_{context.token}",
        "object": "response",
        "created_at": context.created_s,
        "status": "in_progress",
        "model": context.served_model,
        "output": [],
        "error": None,
        "incomplete_details": None,
        "usage": None,
    }


def _message(context: AnswerContext, index: int) -> dict[str, Any]:
    return {
        "id": f"msg_{context.token}_{index}",
        "type": "message",
        "status": "in_progress",
        "role": "assistant",
        "content": [],
    }


def _reasoning(context: AnswerContext, index: int) -> dict[str, Any]:
    return {
        "id": f"rs_{context.token}_{index}",
        "type": "reasoning",
        "status": "in_progress",
        "summary": [],
    }


def _summary(text: str) -> dict[str, str]:
    return {"type": "summary_text", "text": text}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call(context: AnswerContext, index: int, call: ToolCallStarted) -> dict[str, Any]:
    form = CALL_FORMS[call.kind]
    # The engine's ids are unique in one answer only; a client's history holds many answers.
    item = {
        "id": f"{form.prefix}_{context.token}_{index}",
        "type": form.item,
        "status": "in_progress",
        "call_id": f"call_{context.token}_{index}",
        "name": call.name,
        form.key: "",
    }
    namespace = namespace_of(context.request, call.name)
    return {**item, "namespace": namespace} if namespace else item


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
