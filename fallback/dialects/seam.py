"""What the dialects share in finding the seam: where a stream of theirs broke off.

Source of what can stand in a stream: the types of the `anthropic` and `openai` packages. What
this service could not go on with honestly ends the reading with `CannotSplice`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from fallback.core.answer import CallKind, PartialAnswer, SaidCall
from fallback.core.splice import estimated_tokens
from fallback.dialects.base import AnswerContext, Seam, Unsplicable
from fallback.dialects.jsonvalues import is_object, mapping, parse, string
from fallback.dialects.sse import event_data, split_events
from fallback.dialects.upstream import DONE_DATA

REASONS: Mapping[str, str] = {
    "audio": "it is spoken audio",
    "blank-text": "it had just opened a text in which nothing stands yet",
    "citations": "it cites sources that no other model was shown",
    "error-told": "the client was already told of an error",
    "finished": "it was complete but for its last event",
    "interleaved": "it wrote several parts at once",
    "logprobs": "the client wants the probabilities of its tokens",
    "malformed": "one of its events cannot be read",
    "refusal": "it refuses the request",
    "server-tools": "it uses tools that run at the provider's",
    "several-choices": "the client asked for several answers at once",
    "text-after-call": "it wrote text behind a tool call",
    "thinking-open": "it broke off in the midst of its reasoning",
    "unknown-content": "it holds content of a kind that is unknown here",
}


class CannotSplice(Exception):
    """No other model can go on with this answer; `reason` is a key of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(REASONS[reason])
        self.reason = reason


def found(read: Callable[[Iterable[Mapping[str, Any]]], Seam], sent: bytes) -> Seam | Unsplicable:
    """The seam that `read` finds in the events of `sent`."""
    try:
        return read(events(sent))
    except CannotSplice as cannot:
        message = f"no other model can go on with it, for {cannot}"
        return Unsplicable(reason=cannot.reason, message=message)


def events(sent: bytes) -> Iterator[Mapping[str, Any]]:
    """The data of each event, its type always under `type` where it has one."""
    for event in split_events(sent)[0]:
        name, data = event_data(event)
        if not data.strip():
            continue
        if data.strip() == DONE_DATA:
            raise CannotSplice("finished")
        yield _typed(name, data)


def _typed(name: str | None, data: bytes) -> Mapping[str, Any]:
    try:
        value = mapping(parse(data))
    except ValueError:
        raise CannotSplice("malformed") from None
    kind = string(value.get("type")) or name or ""
    if kind == "error" or (value.get("error") and not kind):
        raise CannotSplice("error-told")
    return {**value, "type": kind}


def said_call(name: str, kind: CallKind, arguments: str, *, closed: bool) -> SaidCall:
    """A call as far as it came; whole if it was closed, or if its arguments are."""
    whole = closed or (kind == "function" and is_object(arguments))
    return SaidCall(name=name, kind=kind, arguments=arguments, whole=whole)


def spent_tokens(said: PartialAnswer, thoughts: str = "") -> int:
    """About how many tokens an answer and the reasoning before it took."""
    calls = (call.name + call.arguments for call in said.calls)
    return sum(map(estimated_tokens, [thoughts, said.text, *calls]))


def told(context: AnswerContext) -> bytes:
    """A comment for whoever reads the raw stream; clients pass over it."""
    why = string(context.provenance.get("reason"))
    note = f": fallback: the stream broke off ({why}); {context.served_model} goes on from here"
    return " ".join(note.split()).encode() + b"\n\n"
