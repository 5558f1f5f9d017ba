"""OpenAI Chat Completions: how to go on with a stream that broke off.

Source: https://platform.openai.com/docs/api-reference/chat-streaming and the types of the
`openai` package. Later chunks keep the first one's id and time and name the model that speaks.
A chunk never says that a tool call is complete: its arguments are when they are a whole object,
or when the next call begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from fallback.core.answer import CallKind, PartialAnswer, SaidCall, Started, ToolCallStarted
from fallback.core.conversation import Text
from fallback.dialects.base import AnswerContext, Seam, Unsplicable
from fallback.dialects.blocks import BlockStepper, Step
from fallback.dialects.jsonvalues import integer, mapping, objects, optional_string, string
from fallback.dialects.openai_chat_encode import ChatStream
from fallback.dialects.seam import CannotSplice, found, said_call, spent_tokens, told

_KEPT = ("id", "created", "service_tier", "system_fingerprint")
_THINKING = ("reasoning_content", "reasoning")
_REFUSED = {"refusal": "refusal", "audio": "audio", "annotations": "citations"}


def seam(sent: bytes) -> Seam | Unsplicable:
    """`Dialect.seam` of this dialect."""
    return found(_seam, sent)


def _seam(events: Iterable[Mapping[str, Any]]) -> Seam:
    reader = _Reader()
    for chunk in events:
        reader.take(chunk)
    said, thoughts = reader.said(), "".join(reader.thoughts)
    estimate = spent_tokens(said, thoughts)
    return Seam(
        said=said,
        model=reader.model,
        output_tokens=estimate if reader.output_tokens is None else reader.output_tokens,
        estimated=reader.output_tokens is None,
        signed_thinking=reader.signed,
        encoder=partial(SplicedChatStream, kept=reader.kept, said=said),
    )


class _Call:
    """A tool call as far as it came."""

    def __init__(self, kind: CallKind) -> None:
        self.kind = kind
        self.name = ""
        self.pieces: list[str] = []

    def grow(self, said: Mapping[str, Any]) -> None:
        self.name += string(said.get("name"))
        self.pieces.append(string(said.get("arguments")) or string(said.get("input")))


class _Reader:
    """Folds the chunks of a completion."""

    def __init__(self) -> None:
        self.model: str | None = None
        self.kept: dict[str, Any] = {}
        self.output_tokens: int | None = None
        self.signed = False
        self.thoughts: list[str] = []
        self._text: list[str] = []
        self._calls: list[_Call] = []

    def take(self, chunk: Mapping[str, Any]) -> None:
        if not self.kept:
            self.kept = {key: chunk[key] for key in _KEPT if key in chunk}
        self.model = optional_string(chunk.get("model")) or self.model
        # Some servers count in every chunk.
        spent = integer(mapping(chunk.get("usage")).get("completion_tokens"))
        self.output_tokens = self.output_tokens if spent is None else spent
        for choice in objects(chunk.get("choices")):
            self._choose(choice)

    def _choose(self, choice: Mapping[str, Any]) -> None:
        if integer(choice.get("index")):
            raise CannotSplice("several-choices")
        if choice.get("logprobs"):
            raise CannotSplice("logprobs")
        if choice.get("finish_reason"):
            raise CannotSplice("finished")
        self._grow(mapping(choice.get("delta")))

    def _grow(self, delta: Mapping[str, Any]) -> None:
        for key, reason in _REFUSED.items():
            if delta.get(key):
                raise CannotSplice(reason)
        self.thoughts += [string(delta.get(key)) for key in _THINKING]
        self.signed = self.signed or bool(delta.get("reasoning_details"))
        if text := string(delta.get("content")):
            if self._calls:
                raise CannotSplice("text-after-call")
            self._text.append(text)
        if legacy := mapping(delta.get("function_call")):
            self._call(0, "function", legacy)
        for call in objects(delta.get("tool_calls")):
            self._call_part(call)

    def _call_part(self, part: Mapping[str, Any]) -> None:
        kind: CallKind = "custom" if "custom" in part else "function"
        self._call(integer(part.get("index")) or 0, kind, mapping(part.get(kind)))

    def _call(self, index: int, kind: CallKind, said: Mapping[str, Any]) -> None:
        if index == len(self._calls):
            self._calls.append(_Call(kind))
        if index != len(self._calls) - 1:
            raise CannotSplice("interleaved")
        self._calls[-1].grow(said)

    def said(self) -> PartialAnswer:
        text = "".join(self._text)
        if not text and not self._calls and any(self.thoughts):
            raise CannotSplice("thinking-open")
        last = len(self._calls) - 1
        calls = [
            said_call(call.name, call.kind, "".join(call.pieces), closed=index < last)
            for index, call in enumerate(self._calls)
        ]
        return PartialAnswer((*([Text(text)] if text else []), *calls))


class SplicedChatStream(ChatStream):
    """Goes on with a completion: `kept` are the fields that its chunks have in common."""

    def __init__(
        self, context: AnswerContext, *, kept: Mapping[str, Any], said: PartialAnswer
    ) -> None:
        super().__init__(context)
        self._head = {**self._head, **kept}
        self._stepper = BlockStepper(text_open=bool(said.text.strip()))
        self._calls = [_started(call) for call in said.calls]

    def _step(self, step: Step) -> bytes:
        return told(self._context) if isinstance(step, Started) else super()._step(step)


def _started(call: SaidCall) -> ToolCallStarted:
    return ToolCallStarted(id="", name=call.name, kind=call.kind)
