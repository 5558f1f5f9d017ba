"""An exchange that remembers what passed through it: what the record of a request is made of."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterable, Awaitable, Mapping

from fallback.core.provenance import Headers
from fallback.core.record import Seen
from fallback.handling.story import Exchange
from fallback.upstream.encoding import DecodingError, decode
from fallback.upstream.headers import content_coding, find

_KEPT_BYTES = 1024 * 1024
_MOST_PLAIN = 8


class Witness:
    """Satisfies `Exchange` by another one. An answer of more than `kept_bytes` is hashed as it
    passes; a shorter one is kept until it has ended."""

    __slots__ = (
        "_chunks",
        "_exchange",
        "_hash",
        "_headers_sent",
        "_kept_bytes",
        "_size",
        "headers",
        "method",
        "path",
        "query",
        "sent",
    )

    def __init__(self, exchange: Exchange, *, kept_bytes: int = _KEPT_BYTES) -> None:
        self.method = exchange.method
        self.path = exchange.path
        self.query = exchange.query
        self.headers: Headers = exchange.headers
        self.sent: bytes | None = None
        self._exchange = exchange
        self._kept_bytes = kept_bytes
        self._headers_sent: Headers = []
        self._size = 0
        self._chunks: list[bytes] = []
        self._hash = hashlib.sha256()

    def __repr__(self) -> str:
        return f"<Witness {self.method} {self.path} size={self._size}>"

    async def body(self, limit_bytes: int) -> bytes | AsyncIterable[bytes]:
        body = await self._exchange.body(limit_bytes)
        if isinstance(body, bytes):
            self.sent = body
        return body

    # These hand on the other's awaitable: a coroutine of their own would cost every event.

    def start(self, status: int, headers: Headers) -> Awaitable[None]:
        self._headers_sent = headers
        return self._exchange.start(status, headers)

    def send(self, chunk: bytes) -> Awaitable[None]:
        self._see(chunk)
        return self._exchange.send(chunk)

    def finish(self, chunk: bytes = b"") -> Awaitable[None]:
        self._see(chunk)
        return self._exchange.finish(chunk)

    def seen(self, headers: Mapping[bytes, bytes], credential: str) -> Seen:
        """What passed; the request has ended."""
        answer = b"".join(self._chunks)
        self._hash.update(answer)
        return Seen(
            headers=headers,
            credential=credential,
            request=self.sent,
            answer=self._plain(answer),
            answer_sha256=self._hash.hexdigest(),
            answer_size=self._size,
            answer_type=(find(self._headers_sent, b"content-type") or b"").decode("latin-1"),
        )

    def _see(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._chunks.append(chunk)
        if self._size > self._kept_bytes:
            # Together, since a call for each event would cost more than the hashing.
            self._hash.update(b"".join(self._chunks))
            self._chunks.clear()

    def _plain(self, answer: bytes) -> bytes | None:
        """The answer without its coding, None where it is not all here or cannot be read."""
        if self._size > self._kept_bytes:
            return None
        coding = content_coding(self._headers_sent)
        if coding is None:
            return answer
        try:
            return decode(answer, coding, limit_bytes=_MOST_PLAIN * self._kept_bytes)
        except DecodingError:
            return None
