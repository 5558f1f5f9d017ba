"""The cloud tier: the client's request, as it is, to the upstream it meant."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping

from fallback.core.outcome import Outcome
from fallback.core.policy import Deadlines, Step
from fallback.core.provenance import Headers
from fallback.core.routing import Route
from fallback.dialects.base import Dialect
from fallback.upstream.attempt import Attempt, Live, Request, Whole
from fallback.upstream.headers import for_upstream
from fallback.upstream.transport import Transport, UpstreamConfig


class CloudTier:
    """Makes attempts at the configured upstreams; knows nothing of health or other tiers."""

    def __init__(
        self,
        transport: Transport,
        upstreams: Mapping[str, UpstreamConfig],
        dialects: Mapping[str, Dialect],
        deadlines: Deadlines,
        *,
        clock: Callable[[], float],
    ) -> None:
        self._transport = transport
        self._upstreams = upstreams
        self._dialects = dialects
        self._deadlines = deadlines
        self._clock = clock

    async def attempt(
        self,
        route: Route,
        method: str,
        query: bytes,
        headers: Headers,
        body: bytes | AsyncIterable[bytes],
        step: Step,
    ) -> Whole | Live | Outcome:
        """One try. A `Whole` or `Live` is good to send, or is the upstream's own error."""
        upstream = self._upstreams[route.upstream]
        generates = route.operation == "generate"
        request = Request(
            method=method,
            target=f"{route.path}?{query.decode('latin-1')}" if query else route.path,
            headers=for_upstream(headers, family=upstream.family, api_key=upstream.api_key),
            body=body,
            dialect=self._dialects[route.dialect],
            generates=generates,
            streams=generates and isinstance(body, bytes) and asks_for_stream(body),
        )
        attempt = Attempt(
            self._transport,
            upstream,
            request,
            self._deadlines,
            step,
            clock=self._clock,
        )
        return await attempt.run()


_END_BYTES = 1024


def asks_for_stream(body: bytes) -> bool:
    """Whether a JSON body holds `"stream": true`, told without parsing it, first of all where
    clients put it: near one of the ends.

    Inside a JSON string the quotes would be escaped, so only a member can match; one in a
    nested object costs no more than another deadline.
    """
    if len(body) > 2 * _END_BYTES:
        ends = body[:_END_BYTES], body[-_END_BYTES:]
        if any(map(asks_for_stream, ends)):
            return True
    at = body.find(b'"stream"')
    while at >= 0:
        if body[at + 8 : at + 24].lstrip(b" \t\r\n:").startswith(b"true"):
            return True
        at = body.find(b'"stream"', at + 8)
    return False
