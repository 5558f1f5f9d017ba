"""A request and its answer between two dialects: the client's, and that of the server asked.

client's body -> conversation -> server's body; server's events -> answer events -> client's events.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from fallback.core.answer import AnswerEvent, Finished
from fallback.core.conversation import Conversation
from fallback.core.provenance import Headers
from fallback.dialects.base import AnswerContext, Dialect
from fallback.dialects.sse import split_events

_EVENT_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
]


class Translation:
    """One request's. `body` is what to send; `chunk` and `whole` take what comes back."""

    def __init__(
        self, client: Dialect, server: Dialect, conversation: Conversation, context: AnswerContext
    ) -> None:
        self.body = server.encode_request(conversation)
        self.streams = conversation.stream
        self._client = client
        self._server = server
        self._conversation = conversation
        self._context = context
        self._reader = server.answer_reader(conversation)
        self._encoder = client.stream_encoder(context)
        self._begun = False
        self._ended = False

    def __repr__(self) -> str:
        return f"<Translation {self._server.name} -> {self._client.name} begun={self._begun}>"

    def chunk(self, events: bytes) -> bytes:
        """Whole events of the server's stream as events of the client's; empty where they say
        nothing that the client's dialect has a word for."""
        found = (event for raw in split_events(events)[0] for event in self._reader.feed(raw))
        return b"".join(map(self._encode, found))

    def keepalive(self) -> bytes:
        """What keeps the client waiting; empty before the beginning and after the end."""
        return self._encoder.keepalive() if self._begun and not self._ended else b""

    def whole(self, body: bytes) -> tuple[Headers, bytes]:
        """An answer in one piece, in the form that the client asked for. Raises `ValueError` if
        `body` is none."""
        events = self._server.read_whole(body, self._conversation)
        if self.streams:
            return _EVENT_STREAM, b"".join(map(self._encoder.encode, events))
        encoded = self._client.encode_whole(self._context, events)
        length = (b"content-length", str(len(encoded)).encode())
        return [(b"content-type", b"application/json"), length], encoded

    @property
    def headers(self) -> Headers:
        """Those of the stream."""
        return list(_EVENT_STREAM)

    def _encode(self, event: AnswerEvent) -> bytes:
        self._begun = True
        self._ended = isinstance(event, Finished)
        return self._encoder.encode(event)


def translation(
    client: Dialect,
    server: Dialect,
    body: bytes,
    *,
    model: str,
    token: str,
    created_s: int,
    provenance: Mapping[str, Any],
) -> Translation:
    """The translation of the request in `body` for the server's `model`. Raises `BadRequest`."""
    conversation, raw = client.decode(body)
    context = AnswerContext(
        token=token, served_model=model, created_s=created_s, request=raw, provenance=provenance
    )
    renamed = msgspec.structs.replace(conversation, model=model)
    return Translation(client, server, renamed, context)
