"""HTTP as bytes: a client that adds nothing, and what may differ between going direct or not."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import http_sf
from standin import PATIENCE_S

Pairs = Sequence[tuple[str, str]]

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
_OURS = {"llm-provenance", "proxy-status"}


@dataclass(frozen=True)
class RawAnswer:
    """A response; `whole` is False where it broke off before its proper end."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    whole: bool

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        return next((v for n, v in self.headers if n.lower() == name.lower()), None)

    @property
    def theirs(self) -> list[tuple[str, str]]:
        """The headers without the hop-by-hop ones and without ours; names in lower case."""
        return [
            (name.lower(), value)
            for name, value in self.headers
            if name.lower() not in _HOP_BY_HOP | _OURS
            and (name.lower(), value) != ("via", "1.1 fallback")
        ]

    @property
    def provenance(self) -> dict[str, Any]:
        """Our header, parsed as RFC 9651 says: plain values by key."""
        return provenance(self.header("llm-provenance"))


def provenance(value: str | None) -> dict[str, Any]:
    """An `LLM-Provenance` header as plain values by key."""
    assert value is not None, "no LLM-Provenance header"
    parsed: Any = http_sf.parse(value.encode(), tltype="dictionary")
    return {key: _plain(item[0]) for key, item in parsed.items()}


def send(
    url: str,
    method: str,
    target: str,
    headers: Pairs = (),
    body: bytes | Sequence[bytes] | None = None,
    *,
    once: bytes = b"",
    then: Callable[[], object] = lambda: None,
) -> RawAnswer:
    """One request; a sequence of bytes is uploaded in chunks. Raises only if no head comes.

    `then` is called when the bytes `once` have come, before the rest is read.
    """
    address = urlsplit(url)
    connection = http.client.HTTPConnection(
        address.hostname or "", address.port, timeout=PATIENCE_S
    )
    try:
        connection.putrequest(method, target, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        _end_head(connection, body)
        return _read(connection.getresponse(), once, then)
    finally:
        connection.close()


def _end_head(connection: http.client.HTTPConnection, body: bytes | Sequence[bytes] | None) -> None:
    if body is None:
        connection.endheaders()
    elif isinstance(body, bytes):
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
    else:
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders(body, encode_chunked=True)


def _read(response: http.client.HTTPResponse, once: bytes, then: Callable[[], object]) -> RawAnswer:
    body, whole = b"", True
    try:
        while once not in body and (data := response.read1()):
            body += data
        then()
        body += response.read()
    except http.client.IncompleteRead as error:
        body, whole = body + error.partial, False
    except ConnectionError:
        whole = False
    return RawAnswer(response.status, tuple(response.getheaders()), body, whole)


def open_request(url: str, target: str, headers: Pairs, body: bytes) -> socket.socket:
    """A connection on which a POST was sent and nothing was read yet; for clients that leave."""
    address = urlsplit(url)
    lines = [f"POST {target} HTTP/1.1", f"Host: {address.netloc}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines += [f"Content-Length: {len(body)}", "", ""]
    connection = socket.create_connection((address.hostname or "", address.port or 80), PATIENCE_S)
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


def read_until(connection: socket.socket, wanted: bytes) -> bytes:
    """What comes, up to and with the bytes wanted. Raises `AssertionError` at an early end."""
    seen = b""
    while wanted not in seen:
        data = connection.recv(65536)
        assert data, f"the connection ended before {wanted!r}: {seen!r}"
        seen += data
    return seen


def request_headers(request_headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, list[str]]:
    """Headers that reached an upstream, less those of the connection; names in lower case."""
    found: dict[str, list[str]] = {}
    for name, value in request_headers:
        key = name.decode("latin-1").lower()
        if key not in _HOP_BY_HOP | {"host"}:
            found.setdefault(key, []).append(value.decode("latin-1"))
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return {str(item): params for item, params in value}
    return str(value) if isinstance(value, http_sf.Token) else value
