"""OpenAI Responses: how to go on with a stream that broke off.

Source: https://platform.openai.com/docs/api-reference/responses-streaming and the types of the
`openai` package. The open item goes on under its own id and index, the events under the next
sequence number, and the last event repeats the whole response, the cloud's items as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

from fallback.core.answer import AnswerEvent, CallKind, PartialAnswer, SaidCall, Started
from fallback.core.conversation import Text
from fallback.dialects.base import AnswerContext, Seam, Unsplicable
from fallback.dialects.blocks import BlockStepper
from fallback.dialects.jsonvalues import integer, mapping, objects, optional_string, string
from fallback.dialects.openai_responses_encode import CALL_FORMS, Named, ResponsesStream
from fallback.dialects.seam import CannotSplice, found, said_call, spent_tokens, told

Stage: TypeAlias = Literal["item", "part", "text-done", "part-done"]
"""What was opened or closed last in the open item: the item itself, its part, the part's text
(or the call's input), the part."""

_KINDS: Mapping[str, CallKind] = {
    "function_call": "function",
    "custom_tool_call": "custom",
}
_SPOKEN = ("output_text", "function_call_arguments", "custom_tool_call_input")


def seam(sent: bytes) -> Seam | Unsplicable:
    """`Dialect.seam` of this dialect."""
    return found(_seam, sent)


def _seam(events: Iterable[Mapping[str, Any]]) -> Seam:
    reader = _Reader()
    for data in events:
        reader.take(data["type"], data)
    said = reader.said()
    return Seam(
        said=said,
        model=optional_string(reader.response.get("model")),
        output_tokens=spent_tokens(said, "".join(reader.thoughts)),
        estimated=True,
        signed_thinking=any(item.get("type") == "reasoning" for item in reader.done),
        encoder=partial(SplicedResponsesStream, reader=reader, said=said),
    )


class _Reader:
    """Folds the events of a response. `done` are its complete items, `item` is the open one,
    of which `pieces` is the text or input so far."""

    def __init__(self) -> None:
        self.response: dict[str, Any] = {}
        self.sequence = 0
        self.done: list[dict[str, Any]] = []
        self.item: dict[str, Any] | None = None
        self.stage: Stage = "item"
        self.pieces: list[str] = []
        self.thoughts: list[str] = []

    def take(self, kind: str, data: Mapping[str, Any]) -> None:
        number = integer(data.get("sequence_number"))
        self.sequence = (self.sequence if number is None else number) + 1
        name = kind.removeprefix("response.")
        if name in ("completed", "incomplete"):
            raise CannotSplice("finished")
        if name in ("failed", "cancelled"):
            raise CannotSplice("error-told")
        if name in ("created", "in_progress", "queued"):
            self.response = mapping(data.get("response")) or self.response
        elif name == "output_item.added":
            self._open(mapping(data.get("item")))
        elif name == "output_item.done":
            self._close(mapping(data.get("item")))
        else:
            self._inside(name, data)

    def said(self) -> PartialAnswer:
        parts = [part for item in self.done for part in _parts(item)]
        if self.item is None:
            return PartialAnswer(tuple(parts))
        if self.item.get("type") == "reasoning":
            raise CannotSplice("thinking-open")
        content = "".join(self.pieces)
        if kind := _KINDS.get(string(self.item.get("type"))):
            name, closed = string(self.item.get("name")), self.stage == "text-done"
            parts.append(said_call(name, kind, content, closed=closed))
        elif content:
            parts.append(Text(content))
        return PartialAnswer(tuple(parts))

    def _open(self, item: dict[str, Any]) -> None:
        if self.item is not None:
            raise CannotSplice("interleaved")
        if item.get("type") not in ("message", "reasoning", *_KINDS):
            raise CannotSplice("server-tools")
        self.item, self.stage, self.pieces = item, "item", []

    def _close(self, item: dict[str, Any]) -> None:
        self.done.append(item)
        self.item = None

    def _inside(self, name: str, data: Mapping[str, Any]) -> None:
        if name.startswith("audio."):
            raise CannotSplice("audio")
        _check(name, data)
        place, _, change = name.rpartition(".")
        if place.startswith("reasoning"):
            self.thoughts.append(string(data.get("delta")))
        elif place == "content_part":
            self.stage = "part" if change == "added" else "part-done"
        elif place in _SPOKEN and change == "delta":
            self.stage = "part"
            self.pieces.append(string(data.get("delta")))
        elif place in _SPOKEN and change == "done":
            self.stage = "text-done"
            self.pieces = [string(data.get(key)) for key in ("text", "arguments", "input")]


def _check(name: str, data: Mapping[str, Any]) -> None:
    """Raise `CannotSplice` for what no other model can go on with."""
    part = mapping(data.get("part")).get("type", "output_text")
    if "refusal" in name or part == "refusal":
        raise CannotSplice("refusal")
    if "annotation" in name:
        raise CannotSplice("citations")
    if data.get("logprobs"):
        raise CannotSplice("logprobs")
    if name.startswith("content_part") and part not in ("output_text", "reasoning_text"):
        raise CannotSplice("unknown-content")
    if integer(data.get("content_index")) and not name.startswith("reasoning"):
        raise CannotSplice("unknown-content")


def _parts(item: Mapping[str, Any]) -> Iterator[Text | SaidCall]:
    """What a complete item says; reasoning says nothing."""
    if kind := _KINDS.get(string(item.get("type"))):
        arguments = string(item.get(CALL_FORMS[kind].key))
        yield said_call(string(item.get("name")), kind, arguments, closed=True)
    contents = objects(item.get("content")) if item.get("type") == "message" else []
    for part in contents:
        if text := string(part.get("text")):
            yield Text(text)


class SplicedResponsesStream(ResponsesStream):
    """Goes on with the response that `reader` has read."""

    def __init__(self, context: AnswerContext, *, reader: _Reader, said: PartialAnswer) -> None:
        super().__init__(context)
        # What two models wrote can neither be fetched nor referred to at the provider's.
        self._base |= {**reader.response, "model": context.served_model, "store": False}
        self._sequence = reader.sequence
        self._output = list(reader.done)
        self._stage = reader.stage
        self._open_call = said.open_call is not None
        if reader.item is not None:
            self._resume(reader.item, reader.pieces)

    def encode(self, event: AnswerEvent) -> bytes:
        if isinstance(event, Started):
            return told(self._context) + b"".join(map(self._event, self._mended()))
        return super().encode(event)

    def _resume(self, item: Mapping[str, Any], pieces: Iterable[str]) -> None:
        self._open = {"id": f"item_{self._context.token}", **item}
        self._pieces = list(pieces)
        if kind := _KINDS.get(string(item.get("type"))):
            self._form = CALL_FORMS[kind]
        else:
            self._stepper = BlockStepper(text_open=self._stage in ("item", "part"))

    def _mended(self) -> Iterator[Named]:
        """What the cloud owes of the open item before more can be said."""
        if not self._open or self._open_call:
            return
        if self._open.get("type") == "message":
            yield from self._mended_text()
        elif self._stage == "text-done":
            yield self._close_call()
        else:
            yield from self._end_call()

    def _mended_text(self) -> Iterator[Named]:
        if self._stage == "item":
            yield self._begin_text()
        if self._stage == "text-done":
            yield self._end_part()
        if self._stage in ("text-done", "part-done"):
            yield self._close_text("completed")
