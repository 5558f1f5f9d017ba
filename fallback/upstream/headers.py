"""What a proxy must take out of headers, and nothing else. Names are in lower case here.

Source: RFC 9110 section 7.6.1 (`Connection` and the fields it names).
"""

from __future__ import annotations

from fallback.core.provenance import Headers

_HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# The transport writes these for the connection it opens itself.
_REWRITTEN = frozenset({b"host", b"content-length", b"expect"})
_CREDENTIALS = frozenset({b"x-api-key", b"authorization"})
# Meant for us: `core.client_policy`.
_OURS = frozenset({b"fallback-policy"})
_REQUEST_DROPS = _HOP_BY_HOP | _REWRITTEN | _OURS
# Replaced by ours, which keep what the upstream said (`Proxy-Status`).
_RESPONSE_DROPS = _HOP_BY_HOP | {b"proxy-status"}


def for_upstream(headers: Headers, *, family: str, api_key: str | None) -> Headers:
    """The client's headers for the upstream, in their order.

    `api_key` replaces the client's credentials, in the header that the family uses; an empty
    one replaces them by none.
    """
    drops = _REQUEST_DROPS
    named = _named_by_connection(headers)
    if named:
        drops = drops | named
    if api_key is None:
        return [pair for pair in headers if pair[0] not in drops]
    kept = [pair for pair in headers if pair[0] not in drops and pair[0] not in _CREDENTIALS]
    if not api_key:
        return kept
    key = api_key.encode("latin-1")
    if family == "anthropic":
        return [*kept, (b"x-api-key", key)]
    return [*kept, (b"authorization", b"Bearer " + key)]


def for_client(headers: Headers) -> Headers:
    """The upstream's response headers for the client, in their order."""
    drops = _RESPONSE_DROPS
    named = _named_by_connection(headers)
    if named:
        drops = drops | named
    return [pair for pair in headers if pair[0] not in drops]


def content_coding(headers: Headers) -> str | None:
    """The value of `Content-Encoding`."""
    value = find(headers, b"content-encoding")
    return value.decode("latin-1") if value else None


def joined(headers: Headers, name: bytes) -> bytes | None:
    """All values of `name`, as the one list that they are (RFC 9110 section 5.2)."""
    values = [value for key, value in headers if key == name]
    return b", ".join(values) if values else None


def find(headers: Headers, name: bytes) -> bytes | None:
    """The first value of `name`."""
    for key, value in headers:
        if key == name:
            return value
    return None


def _named_by_connection(headers: Headers) -> frozenset[bytes]:
    named: frozenset[bytes] = frozenset()
    for name, value in headers:
        if name == b"connection" and value.lower() not in (b"keep-alive", b"close"):
            named |= {token.strip().lower() for token in value.split(b",")}
    return named
