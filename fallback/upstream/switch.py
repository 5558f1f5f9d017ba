"""Which transport an upstream is reached by: direct, or through its HTTP proxy."""

from __future__ import annotations

from collections.abc import AsyncIterable

from fallback.core.provenance import Headers
from fallback.upstream.direct import DirectTransport
from fallback.upstream.transport import Resolve, Transport, TransportResponse, UpstreamConfig


class SwitchTransport:
    """Satisfies `Transport`. The one for proxies is loaded when it is first needed."""

    def __init__(
        self, *, connect_s: float, max_connections: int, resolve: Resolve | None = None
    ) -> None:
        self._connect_s = connect_s
        self._max_connections = max_connections
        self._direct = DirectTransport(connect_s=connect_s, resolve=resolve)
        self._proxied: Transport | None = None

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
        transport = self._direct if upstream.proxy is None else self._through_proxy()
        return await transport.send(
            upstream, method, target, headers, body, limit_s=limit_s, connect_s=connect_s
        )

    async def aclose(self) -> None:
        await self._direct.aclose()
        if self._proxied is not None:
            await self._proxied.aclose()

    def _through_proxy(self) -> Transport:
        if self._proxied is None:
            from fallback.upstream.proxied import ProxiedTransport

            self._proxied = ProxiedTransport(
                connect_s=self._connect_s, max_connections=self._max_connections
            )
        return self._proxied
