"""One HTTP request over raw ASGI, as the gateway wants it.

Source: the ASGI HTTP specification, https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from fallback.core.provenance import Headers

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
SendMessage: TypeAlias = Callable[[Message], Awaitable[None]]


class ClientGone(Exception):
    """The client left before its request was complete."""


class AsgiExchange:
    """Satisfies `gateway.Exchange`. Made in the task that answers the request: when the client
    leaves (`client_left`), that task is cancelled, which frees everything the answer held."""

    def __init__(self, scope: Scope, receive: Receive, send: SendMessage) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["raw_path"].decode("latin-1")
        self.query: bytes = scope["query_string"]
        self.headers: Headers = scope["headers"]
        self.started = False
        self.finished = False
        self.client_left = False
        self._fully_read = False
        self._receive = receive
        self._send = send
        self._task = asyncio.current_task()
        self._watcher: asyncio.Task[None] | None = None

    async def body(self, limit_bytes: int) -> bytes | AsyncIterable[bytes]:
        chunks: list[bytes] = []
        size = 0
        while not self._fully_read:
            chunk = await self._read()
            chunks.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                return self._rest(chunks)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def start(self, status: int, headers: Headers) -> None:
        self.started = True
        if status in (204, 304):
            # What it says there is the length of another answer; servers hold this one to it.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def send(self, chunk: bytes) -> None:
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def finish(self, chunk: bytes = b"") -> None:
        self.finished = True
        await self._send({"type": "http.response.body", "body": chunk})

    def close(self) -> None:
        """Stop watching the client."""
        if self._watcher is not None:
            self._watcher.cancel()

    async def _read(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        if not message.get("more_body", False):
            self._fully_read = True
            self._watcher = asyncio.get_running_loop().create_task(self._watch())
        chunk: bytes = message.get("body", b"")
        return chunk

    async def _watch(self) -> None:
        # With the body read, the only message left is the disconnect.
        await self._receive()
        if not self.finished and self._task is not None:
            self.client_left = True
            self._task.cancel()

    async def _rest(self, chunks: list[bytes]) -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk
        chunks.clear()
        while not self._fully_read:
            yield await self._read()
