"""The transport through HTTP proxies: aiohttp, which knows CONNECT, absolute targets and
proxy credentials. Imported only where an upstream has a proxy. Foreign exceptions are
translated here, once, by a table.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterable, Iterator
from contextlib import contextmanager

import aiohttp
from yarl import URL

from fallback.core.os_errors import from_os_error
from fallback.core.outcome import Failure
from fallback.core.provenance import Headers
from fallback.upstream.transport import (
    TransportError,
    TransportResponse,
    UpstreamConfig,
)

# The first class that fits decides; what follows says whether bytes may have been sent.
_TABLE: tuple[tuple[type[BaseException], Failure | None, bool], ...] = (
    (aiohttp.ClientConnectorDNSError, Failure.DNS, False),
    (aiohttp.ClientConnectorCertificateError, Failure.CERTIFICATE, False),
    (aiohttp.ClientConnectorSSLError, Failure.TLS, False),
    (aiohttp.ConnectionTimeoutError, Failure.CONNECT_TIMEOUT, False),
    (TimeoutError, Failure.TIMEOUT, True),
    (aiohttp.ClientHttpProxyError, Failure.PROTOCOL, False),
    (aiohttp.ClientConnectorError, None, False),
    (aiohttp.ServerDisconnectedError, Failure.RESET, True),
    (aiohttp.ClientPayloadError, Failure.TRUNCATED, True),
    (aiohttp.ClientResponseError, Failure.PROTOCOL, True),
    (OSError, None, True),
    (aiohttp.ClientError, Failure.PROTOCOL, True),
)


def translate(error: Exception) -> TransportError:
    """The `TransportError` for an exception of the HTTP library or the system."""
    for kind, failure, sent in _TABLE:
        if isinstance(error, kind):
            known = failure or (from_os_error(error) if isinstance(error, OSError) else None)
            return TransportError(known or Failure.RESET, _detail(error), sent=sent)
    raise error


def _detail(error: Exception) -> str:
    """Without the text of aiohttp's, which names the proxy with its password."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"{error.status} {error.message.partition(':')[0]}"
    if isinstance(error, OSError) and error.strerror:
        return str(error.strerror)
    return type(error).__name__


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (aiohttp.ClientError, OSError) as error:
        raise translate(error) from error


class ProxiedTransport:
    """An aiohttp session for all upstreams. Needs a running event loop from `send` on.

    Limits: `max_connections` at once in all; a response head of 64 KiB.
    """

    def __init__(self, *, connect_s: float, max_connections: int = 1024) -> None:
        self._connect_s = connect_s
        self._max_connections = max_connections
        self._session: aiohttp.ClientSession | None = None
        self._tls: dict[str | None, ssl.SSLContext] = {}

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
        connecting = aiohttp.ClientTimeout(total=None, sock_connect=connect_s or self._connect_s)
        url = URL(upstream.base_url + target, encoded=True)
        with _translated():
            # How long a streamed body takes is the client's matter.
            async with asyncio.timeout(limit_s if isinstance(body, bytes) else None):
                try:
                    return await self._request(upstream, method, url, headers, body, connecting)
                except (aiohttp.ServerDisconnectedError, ConnectionResetError):
                    # A pooled connection that the server closed while it lay idle says nothing
                    # about the server: once more, on what the pool (now without it) gives.
                    if not isinstance(body, bytes):
                        raise
                    return await self._request(upstream, method, url, headers, body, connecting)

    async def _request(
        self,
        upstream: UpstreamConfig,
        method: str,
        url: URL,
        headers: Headers,
        body: bytes | AsyncIterable[bytes],
        timeout: aiohttp.ClientTimeout,
    ) -> TransportResponse:
        response = await self._open().request(
            method,
            url,
            headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers],
            data=body or None,
            allow_redirects=False,
            timeout=timeout,
            proxy=upstream.proxy,
            ssl=self._context(upstream) if url.scheme == "https" else True,
        )
        return _Response(response)

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._max_connections, keepalive_timeout=60),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
                max_line_size=65536,
                max_field_size=65536,
            )
        return self._session

    def _context(self, upstream: UpstreamConfig) -> ssl.SSLContext:
        context = self._tls.get(upstream.ca_file)
        if context is None:
            context = ssl.create_default_context(cafile=upstream.ca_file)
            self._tls[upstream.ca_file] = context
        return context


class _Response:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Headers = [(name.lower(), value) for name, value in response.raw_headers]

    async def read(self, limit_s: float) -> bytes:
        with _translated():
            async with asyncio.timeout(limit_s):
                return await self._response.content.readany()

    def close(self) -> None:
        if self._response.content.is_eof():
            self._response.release()
        else:
            self._response.close()
