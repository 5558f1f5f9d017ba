"""The transport of the healthy path: HTTP/1.1 over asyncio, parsed by httptools.

Why not a general client: an aiohttp session costs three times the CPU of this for each request,
and the proxy's own share must stay next to nothing (`scripts/bench/overhead.py` measures it).

Rules of this file:
- A connection serves one exchange at a time and goes back to the pool only after a whole
  answer that allows it; in every other case it is aborted.
- A pooled connection that the server closed while it lay idle says nothing about the server:
  if it fails before a byte of the answer, the exchange is tried once more on a fresh one.
- An answer's end is proper only by its own framing (RFC 9112 section 6.3); anything else
  raises.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import AsyncIterable, Callable, Sequence
from typing import cast
from urllib.parse import SplitResult, urlsplit

import httptools
from aiohappyeyeballs import AddrInfoType, start_connection

from fallback.core.os_errors import from_os_error
from fallback.core.outcome import Failure
from fallback.core.provenance import Headers
from fallback.upstream.transport import (
    Resolve,
    TransportError,
    TransportResponse,
    UpstreamConfig,
)

_MAX_HEAD_BYTES = 64 * 1024
_BUFFERED_BYTES = 256 * 1024
_IDLE_S = 55.0
_IDLE_PER_UPSTREAM = 128
_HAPPY_EYEBALLS_DELAY_S = 0.25  # RFC 8305 section 5


class DirectTransport:
    """Satisfies `Transport`. `connect_s` bounds name resolution, TCP and TLS together.

    `resolve` finds addresses; the event loop's own way has four threads for all names, which a
    few names that hang keep busy. `stale_s` is how soon a connection that died idle shows it:
    one round trip. A server that breaks off later was at work, and does not get the same work
    twice.
    """

    def __init__(
        self, *, connect_s: float, stale_s: float = 1.0, resolve: Resolve | None = None
    ) -> None:
        self._connect_s = connect_s
        self._resolve = resolve or _resolve
        self._stale_s = stale_s
        self._idle: dict[str, deque[_Connection]] = {}
        self._origins: dict[str, _Origin] = {}

    def __repr__(self) -> str:
        idle = {name: len(connections) for name, connections in self._idle.items()}
        return f"<DirectTransport idle={idle}>"

    async def send(
        self,
        upstream: UpstreamConfig,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | AsyncIterable[bytes],
        *,
        limit_s: float,
        connect_s: float | None = None,
    ) -> TransportResponse:
        origin = self._origin(upstream)
        head = _head(method, origin.prefix + target, origin.host_header, headers, body)
        # A streamed body cannot be sent twice: not over a connection that may be dead.
        connection = self._pooled(upstream.name) if isinstance(body, bytes) else None
        if connection is not None:
            began = asyncio.get_running_loop().time()
            try:
                return await self._exchange(connection, head, body, method, limit_s)
            except TransportError as error:
                at_once = asyncio.get_running_loop().time() - began <= self._stale_s
                if connection.answered or error.failure is not Failure.RESET or not at_once:
                    raise
        connection = await self._connect(origin, connect_s or self._connect_s)
        return await self._exchange(connection, head, body, method, limit_s)

    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.abort()
        self._idle.clear()

    async def _exchange(
        self,
        connection: _Connection,
        head: bytes,
        body: bytes | AsyncIterable[bytes],
        method: str,
        limit_s: float,
    ) -> TransportResponse:
        done = False
        try:
            await connection.request(head, body, headless=method == "HEAD", limit_s=limit_s)
            done = True
            return _Answer(connection, self._release)
        finally:
            if not done:
                connection.abort()

    def _origin(self, upstream: UpstreamConfig) -> _Origin:
        origin = self._origins.get(upstream.name)
        if origin is None:
            origin = self._origins[upstream.name] = _Origin(upstream)
        return origin

    def _pooled(self, name: str) -> _Connection | None:
        connections = self._idle.get(name)
        now = asyncio.get_running_loop().time()
        while connections:
            connection = connections.pop()
            if connection.usable and now - connection.idle_since < _IDLE_S:
                return connection
            connection.abort()
        return None

    def _release(self, connection: _Connection) -> None:
        connection.idle_since = asyncio.get_running_loop().time()
        connections = self._idle.setdefault(connection.pool, deque())
        connections.append(connection)
        if len(connections) > _IDLE_PER_UPSTREAM:
            connections.popleft().abort()

    async def _connect(self, origin: _Origin, limit_s: float) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(limit_s):
                found = await self._resolve(origin.host, origin.port)
                opened = await start_connection(
                    found, happy_eyeballs_delay=_HAPPY_EYEBALLS_DELAY_S, interleave=1
                )
                _, connection = await loop.create_connection(
                    lambda: _Connection(origin.name, loop),
                    sock=opened,
                    ssl=origin.tls,
                    server_hostname=origin.host if origin.tls else None,
                )
                return connection
        except TimeoutError as error:
            detail = f"no connection within {limit_s:g} s"
            raise TransportError(Failure.CONNECT_TIMEOUT, detail, sent=False) from error
        except socket.gaierror as error:
            raise TransportError(Failure.DNS, str(error), sent=False) from error
        except ssl.SSLCertVerificationError as error:
            raise TransportError(Failure.CERTIFICATE, str(error), sent=False) from error
        except ssl.SSLError as error:
            raise TransportError(Failure.TLS, str(error), sent=False) from error
        except OSError as error:
            raise TransportError(from_os_error(error), str(error), sent=False) from error


async def _resolve(host: str, port: int) -> Sequence[AddrInfoType]:
    return await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )


class _Origin:
    """Where an upstream is, worked out once."""

    def __init__(self, upstream: UpstreamConfig) -> None:
        url: SplitResult = urlsplit(upstream.base_url)
        secure = url.scheme == "https"
        self.name = upstream.name
        self.host = url.hostname or ""
        self.port = url.port or (443 if secure else 80)
        self.host_header = url.netloc.rpartition("@")[2]
        self.prefix = url.path.rstrip("/")
        self.tls: ssl.SSLContext | None = None
        if secure:
            self.tls = ssl.create_default_context(cafile=upstream.ca_file)
            self.tls.set_alpn_protocols(["http/1.1"])


def _head(
    method: str, target: str, host: str, headers: Headers, body: bytes | AsyncIterable[bytes]
) -> bytes:
    parts = [f"{method} {target} HTTP/1.1\r\nhost: {host}\r\n".encode("latin-1")]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    if not isinstance(body, bytes):
        parts.append(b"transfer-encoding: chunked\r\n")
    elif body or method in ("POST", "PUT", "PATCH"):
        parts.append(b"content-length: %d\r\n" % len(body))
    parts.append(b"\r\n")
    return b"".join(parts)


class _Answer:
    """What one exchange brought. Satisfies `TransportResponse`."""

    def __init__(self, connection: _Connection, release: Callable[[_Connection], None]) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._connection: _Connection | None = connection
        self._release = release

    async def read(self, limit_s: float) -> bytes:
        return await self._connection.read(limit_s) if self._connection is not None else b""

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if connection.spent:
            self._release(connection)
        else:
            connection.abort()


class _Connection(asyncio.Protocol):
    """One connection and the exchange on it."""

    def __init__(self, pool: str, loop: asyncio.AbstractEventLoop) -> None:
        self.pool = pool
        self.idle_since = 0.0
        self.usable = False
        self.answered = False
        self.status = 0
        self.headers: Headers = []
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._limit_s = self._deadline = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._full = False
        self._error: TransportError | None = None
        self._chunks: list[bytes] = []
        self._buffered = 0
        self._head_bytes = 0
        self._head_done = False
        self._complete = True
        self._headless = False
        self._paused = False

    # -- one exchange ------------------------------------------------------------------------

    async def request(
        self,
        head: bytes,
        body: bytes | AsyncIterable[bytes],
        *,
        headless: bool,
        limit_s: float,
    ) -> None:
        """Send a request and wait for the answer's head. `headless`: an answer to HEAD."""
        self._begin(headless)
        assert self._transport is not None
        if isinstance(body, bytes):
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            await self._upload(body, limit_s)
        while not self._head_done:
            await self._wait(limit_s)

    async def read(self, limit_s: float) -> bytes:
        """The next bytes as they arrive; empty at the proper end."""
        while not self._chunks:
            if self._complete:
                return b""
            await self._wait(limit_s)
        data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._buffered = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    @property
    def spent(self) -> bool:
        """The answer came to its proper end and was read, and the connection may be used on."""
        return self._complete and not self._chunks and self.usable

    def abort(self) -> None:
        """Drop the connection at once."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _begin(self, headless: bool) -> None:
        self._headless = headless
        self._head_done = self._complete = self.answered = False
        self._head_bytes = 0
        self.headers = []

    async def _upload(self, body: AsyncIterable[bytes], limit_s: float) -> None:
        async for chunk in body:
            while self._full and not self._head_done:
                await self._wait(limit_s)
            if self._head_done:
                break
            if chunk:
                self._write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if self._head_done:
            # Answered before the end of the request: nobody reads the rest.
            self.usable = False
        else:
            self._write(b"0\r\n\r\n")

    def _write(self, data: bytes) -> None:
        if self._error is not None:
            raise self._error
        assert self._transport is not None
        self._transport.write(data)

    async def _wait(self, limit_s: float) -> None:
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self._limit_s = limit_s
        self._deadline = self._loop.time() + limit_s
        # A timer that is still running fires early and then runs on: cheaper, many times a
        # second, than one timer for each wait.
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if self._loop.time() < self._deadline:
            self._set_timer()
        else:
            error = TransportError(
                Failure.TIMEOUT, f"nothing came for {self._limit_s:g} s", sent=True
            )
            self._waiter.set_exception(error)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, failure: Failure, detail: str) -> None:
        self.usable = False
        if not self._complete and self._error is None:
            self._error = TransportError(failure, detail, sent=True)
        self._wake()

    # -- asyncio.Protocol --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        if self._complete:
            # Nobody asked: the server is out of step, so the connection is of no use.
            self.abort()
            return
        self.answered = True
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(Failure.PROTOCOL, str(error))
            self.abort()
            return
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > _MAX_HEAD_BYTES:
                self._fail(Failure.PROTOCOL, "the answer's head is too large")
                self.abort()

    def eof_received(self) -> None:
        self._end_by_eof()

    def connection_lost(self, error: Exception | None) -> None:
        self.usable = False
        if self._timer is not None:
            self._timer.cancel()
        if error is not None:
            self._fail(Failure.TRUNCATED if self._head_done else Failure.RESET, str(error))
        else:
            self._end_by_eof()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _end_by_eof(self) -> None:
        self.usable = False
        if self._complete:
            return
        if self._head_done and self._ends_by_eof():
            self._complete = True
            self._wake()
        elif self._head_done:
            self._fail(Failure.TRUNCATED, "the connection closed in the middle of the answer")
        else:
            self._fail(Failure.RESET, "the connection closed before an answer")

    def _ends_by_eof(self) -> bool:
        framed = (b"content-length", b"transfer-encoding")
        return not any(name in framed for name, _ in self.headers)

    # -- httptools callbacks -----------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            raise httptools.HttpParserError("an answer that nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer: nobody can be told any more
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = []
            return
        self._head_done = True
        if self._headless:
            # The parser cannot know that no body follows: the connection is used up.
            self._complete = True
            self.usable = False
        self._wake()

    def on_body(self, body: bytes) -> None:
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered > _BUFFERED_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self.status < 200 or not self._head_done:
            return
        if not self._parser.should_keep_alive():
            self.usable = False
        self._complete = True
        self._wake()
