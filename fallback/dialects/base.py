"""What a dialect is: bytes <-> conversation and events. Pure; one implementation a protocol."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Enum
from typing import Any, Protocol

import msgspec

from fallback.core.answer import AnswerEvent
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
    `created_s` is Unix time in seconds.
    """

    token: str
    served_model: str
    created_s: int
    request: Mapping[str, Any]
    provenance: Mapping[str, Any]


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


class Dialect(Protocol):
    """One wire protocol. `name` is the word used in config, metrics and provenance.

    `watch` matches in any chunk that may hold an event other than PROLOGUE or CONTENT; a false
    alarm only costs a look with `mark`. `terminal` is the event that ends a stream whose
    answer was marked FINISHED.
    """

    name: str
    watch: re.Pattern[bytes]
    terminal: bytes

    def decode(self, body: bytes) -> tuple[Conversation, Mapping[str, Any]]:
        """The conversation, and the body as plain data.

        Raises `fallback.core.errors.BadRequest` only for what no server could answer (not
        JSON, no messages at all, wrong top-level types). Unknown fields, block types and roles
        are survived.
        """
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

    def count_tokens_body(self, tokens: int, extra: Mapping[str, Any]) -> bytes: ...

    def models_body(self, models: list[str], created_s: int, extra: Mapping[str, Any]) -> bytes:
        """The list of models; `model_body` is one entry."""
        ...

    def model_body(self, model: str, created_s: int, extra: Mapping[str, Any]) -> bytes: ...
