"""What a dialect is: bytes <-> conversation and events. Pure; one implementation a protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Protocol

import msgspec

from fallback.core.answer import AnswerEvent, PartialAnswer
from fallback.core.conversation import Conversation


class Mark(Enum):
    """What one server-sent event means for the commit rule and the proper end of a stream."""

    PROLOGUE = "prologue"  # valid, but no content yet: message_start, role chunk, ping
    CONTENT = "content"
    FINISHED = "finished"  # the answer is whole, though the terminal event is still to come
    END = "end"  # the terminal event itself
    ERROR = "error"
    MALFORMED = "malformed"


class ErrorFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an upstream said was wrong, as far as it is known.

    `type` is the most telling name it gave (`insufficient_quota`), `kind` the general type
    beside it where there is one (`invalid_request_error`), `message` is for a person.
    """

    type: str | None = None
    kind: str | None = None
    message: str | None = None


class AnswerContext(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder needs beside the events.

    `token` is a short random string, unique to the answer, from which ids are made.
    `served_model` is the true one. `request` is the client's decoded body, for fields that a
    dialect echoes. `provenance` goes into the body where the dialect's clients accept it.
    `created_s` is Unix time in seconds. `thinking` if the client is to see the reasoning.
    """

    token: str
    served_model: str
    created_s: int
    request: Mapping[str, Any]
    provenance: Mapping[str, Any]
    thinking: bool = False


class StreamEncoder(Protocol):
    """Events of one answer -> bytes of one server-sent event stream."""

    def encode(self, event: AnswerEvent) -> bytes:
        """Bytes for this event; may be empty. `Started` first, `Finished` last, once each."""
        ...

    def keepalive(self) -> bytes:
        """Bytes that keep the client waiting and change nothing; valid only after `Started`."""
        ...

    def error(self, message: str, *, code: str) -> bytes:
        """Bytes that tell the client, in mid-stream, that the answer is broken."""
        ...


class AnswerReader(Protocol):
    """Server-sent events of one upstream's answer -> events of the answer."""

    def feed(self, event: bytes) -> list[AnswerEvent]:
        """The answer events that one whole raw event completes, in the order that `core.answer`
        promises; none for what says nothing, nor after `Finished`. Never raises.

        `Finished` comes with the terminal event. `Started.input_tokens` is 0 where the dialect
        tells the count only at the end.
        """
        ...


class Seam(msgspec.Struct, frozen=True, kw_only=True):
    """A stream that broke off, and how to go on with it in the same response.

    `model` is the one that spoke so far. `output_tokens` are those it spent, `estimated` if it
    did not say so itself. `signed_thinking` if the answer holds reasoning that only its own
    server can vouch for (signed, encrypted, or stored under an id). `encoder` makes one that goes
    on where the stream stopped; it takes the events of the rest alone, `Started` among them, and
    a `Finished` whose output tokens are those of the whole answer.
    """

    said: PartialAnswer
    model: str | None
    output_tokens: int
    estimated: bool
    signed_thinking: bool
    encoder: Callable[[AnswerContext], StreamEncoder]

    @property
    def open_tool_call(self) -> bool:
        """Whether it broke off in the arguments of a tool call."""
        return self.said.open_call is not None


class Unsplicable(msgspec.Struct, frozen=True, kw_only=True):
    """Why nobody else can go on with a stream: a stable token, and a clause for a person."""

    reason: str
    message: str


class Watch(Protocol):
    """Finds the first place of interest; a compiled pattern is one."""

    def search(self, data: bytes, at: int = 0, /) -> re.Match[bytes] | None: ...


class FirstOf:
    """Several patterns, each with a beginning of its own: as one alternation they would take
    five times as long, since only a single pattern's beginning is searched for as a whole."""

    def __init__(self, *patterns: bytes) -> None:
        self._patterns = [re.compile(pattern) for pattern in patterns]

    def search(self, data: bytes, at: int = 0, /) -> re.Match[bytes] | None:
        found = [match for p in self._patterns if (match := p.search(data, at)) is not None]
        return min(found, key=lambda match: match.start()) if found else None


class Dialect(Protocol):
    """One wire protocol. `name` is the word used in config, metrics and provenance.

    `watch` matches in any chunk that may hold an event other than PROLOGUE or CONTENT; a false
    alarm only costs a look with `mark`. `terminal` is the event that ends a stream whose
    answer was marked FINISHED. `path` is where a request for an answer goes.
    """

    name: str
    terminal: bytes
    path: str

    @property
    def watch(self) -> Watch: ...

    def decode(self, body: bytes) -> tuple[Conversation, Mapping[str, Any]]:
        """The conversation, and the body as plain data.

        Raises `fallback.core.errors.BadRequest` only for what no server could answer (not
        JSON, no messages at all, wrong top-level types). Unknown fields, block types and roles
        are survived.
        """
        ...

    def encode_request(self, conversation: Conversation) -> bytes:
        """The body of a request for this conversation, as `decode` would read it, up to what
        the dialect has no words for. What only text can be passed on of, is noted in text."""
        ...

    def answer_reader(self, conversation: Conversation) -> AnswerReader:
        """Reads the streamed answer to `encode_request(conversation)`."""
        ...

    def read_whole(self, body: bytes, conversation: Conversation) -> list[AnswerEvent]:
        """The events of an answer in one piece. Raises `ValueError` if `body` is none."""
        ...

    def stream_encoder(self, context: AnswerContext) -> StreamEncoder: ...

    def encode_whole(self, context: AnswerContext, events: list[AnswerEvent]) -> bytes:
        """The body of a non-streamed answer, from the same events."""
        ...

    def error_body(
        self, status: int, message: str, *, code: str, extra: Mapping[str, Any]
    ) -> bytes:
        """The body of an error answer; `extra` (provenance) is added at the top level."""
        ...

    def read_error(self, body: bytes) -> ErrorFacts:
        """What an upstream's error body says; never raises."""
        ...

    def mark(self, event: bytes) -> Mark:
        """What one whole event of an upstream's stream (raw bytes) means; never raises."""
        ...

    def stream_error(self, event: bytes) -> ErrorFacts:
        """What an event marked ERROR says; never raises."""
        ...

    def broken(self, message: str, *, code: str) -> bytes:
        """The event that tells a client that an upstream's stream broke off, whatever of it the
        client has had."""
        ...

    def seam(self, sent: bytes) -> Seam | Unsplicable:
        """How to go on with a stream of which the client has `sent`: whole events, plain, any
        number of them, and no error event. Never raises."""
        ...

    def count_tokens_body(self, tokens: int, extra: Mapping[str, Any]) -> bytes: ...

    def models_body(self, models: list[str], created_s: int, extra: Mapping[str, Any]) -> bytes:
        """The list of models; `model_body` is one entry."""
        ...

    def model_body(self, model: str, created_s: int, extra: Mapping[str, Any]) -> bytes: ...
