"""The bytes of an answer, kept beside what an SDK makes of them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping

import httpx2


class _Watched(httpx2.SyncByteStream):
    """A response's bytes on their way to the SDK, whose own limit is on silence only."""

    def __init__(self, stream: httpx2.SyncByteStream, tape: Tape) -> None:
        self._stream = stream
        self._tape = tape

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            self._tape.body += chunk
            if time.monotonic() > self._tape.patience_ends:
                raise httpx2.ReadTimeout("no end in sight")
            yield chunk

    def close(self) -> None:
        self._stream.close()


class Tape(httpx2.HTTPTransport):
    """A transport that keeps the last response's headers and body."""

    def __init__(self, patience_s: float) -> None:
        super().__init__()
        self.patience_ends = time.monotonic() + patience_s
        self.headers: Mapping[str, str] = {}
        self.body = b""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.headers, self.body = {}, b""
        response = super().handle_request(request)
        self.headers = response.headers
        assert isinstance(response.stream, httpx2.SyncByteStream)
        response.stream = _Watched(response.stream, self)
        return response
