"""The narrow interface to the network.

One exchange of bytes with one fixed upstream: no redirects, no cookies, no decompression, no
header of our own. `direct.py` is the implementation; `proxied.py` the one for upstreams that
are reached through an HTTP proxy.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

import msgspec
from aiohappyeyeballs import AddrInfoType

from fallback.core.outcome import Failure
from fallback.core.provenance import Headers

Resolve: TypeAlias = Callable[[str, int], Awaitable[Sequence[AddrInfoType]]]
"""The TCP addresses of a host. Raises `OSError`, or `UnicodeError` for what is no name."""


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream. `base_url` has no trailing slash; `proxy` is an HTTP proxy's URL; `ca_file`
    a PEM bundle trusted instead of the system's; `api_key`, where set, replaces the client's, and
    an empty one takes it away."""

    name: str
    family: str
    base_url: str
    proxy: str | None = None
    ca_file: str | None = None
    api_key: str | None = None


class TransportError(Exception):
    """The exchange failed. `sent` is False if no byte of the request left this machine."""

    def __init__(self, failure: Failure, detail: str, *, sent: bool) -> None:
        super().__init__(detail)
        self.failure = failure
        self.sent = sent


class TransportResponse(Protocol):
    """The answer's head (header names in lower case), and its body as it comes."""

    status: int
    headers: Headers

    async def read(self, limit_s: float) -> bytes:
        """The next bytes as they arrive; empty at the proper end. Raises `TransportError`, with
        `Failure.TIMEOUT` after `limit_s` seconds without any."""
        ...

    def close(self) -> None:
        """Give the connection back if the body ended, else drop it at once."""
        ...


class Transport(Protocol):
    """Sends requests to upstreams."""

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
        """`target` is the raw path and query; `limit_s` bounds the wait for the answer's head,
        once the request was sent, `connect_s` that for a connection, where it is to differ from
        what holds for all. Cancelling drops the connection.

        Raises `TransportError`, with `Failure.TIMEOUT` past the limit.
        """
        ...

    async def aclose(self) -> None: ...
