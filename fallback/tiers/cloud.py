"""The cloud tier: the client's request, as it is, to the upstream it meant."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping

from fallback.core.policy import Deadlines
from fallback.core.provenance import Headers
from fallback.core.routing import Route
from fallback.dialects.base import Dialect
from fallback.upstream.attempt import Attempt, Request
from fallback.upstream.headers import for_upstream
from fallback.upstream.transport import Transport, UpstreamConfig


class CloudTier:
    """Prepares attempts at the configured upstreams; knows nothing of health or other tiers."""

    def __init__(
        self,
        transport: Transport,
        upstreams: Mapping[str, UpstreamConfig],
        dialects: Mapping[str, Dialect],
        *,
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._upstreams = upstreams
        self._dialects = dialects
        self._clock = clock

    def prepare(
        self,
        route: Route,
        method: str,
        query: bytes,
        headers: Headers,
        body: bytes | AsyncIterable[bytes],
        deadlines: Deadlines,
        *,
        streams: bool,
    ) -> Attempt:
        """One try, to be run. What it commits is good to send, or is the upstream's own error."""
        upstream = self._upstreams[route.upstream]
        request = Request(
            method=method,
            target=f"{route.path}?{query.decode('latin-1')}" if query else route.path,
            headers=for_upstream(headers, family=upstream.family, api_key=upstream.api_key),
            body=body,
            dialect=self._dialects[route.dialect],
            generates=route.operation == "generate",
            streams=streams,
        )
        return Attempt(self._transport, upstream, request, deadlines, clock=self._clock)
