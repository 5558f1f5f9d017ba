"""Where a free look goes, and by which way."""

from __future__ import annotations

import base64
from urllib.parse import unquote, urlsplit

import msgspec


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy. `authorization` is the value of `Proxy-Authorization` (RFC 9110)."""

    host: str
    port: int
    secure: bool = False
    authorization: str | None = None


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """A host that can be looked at.

    `ca_file` is a PEM bundle trusted instead of the system's, or beside it where the host is a
    `stranger`: a company's own certificates may stand in for a control host's too.
    """

    host: str
    port: int
    secure: bool = True
    proxy: Proxy | None = None
    ca_file: str | None = None
    stranger: bool = False

    @property
    def authority(self) -> str:
        """`host:port`, as in CONNECT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> str:
        """`host`, with the port only where it is not the scheme's own (RFC 9110 section 7.2)."""
        default = 443 if self.secure else 80
        return self.authority.removesuffix(f":{default}")

    @property
    def origin(self) -> str:
        """`scheme://host:port`, as before a path that is asked of a proxy."""
        return f"{'https' if self.secure else 'http'}://{self.authority}"


def site(
    url: str, *, proxy: str | None = None, ca_file: str | None = None, stranger: bool = False
) -> Site:
    """The site of an absolute URL, whose path is left out. Raises `ValueError`."""
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is no URL of the web's")
    return Site(
        host=parts.hostname,
        port=parts.port or (443 if secure else 80),
        secure=secure,
        proxy=_proxy(proxy) if proxy else None,
        ca_file=ca_file,
        stranger=stranger,
    )


def _proxy(url: str) -> Proxy:
    parts = urlsplit(url)
    plain = site(url)
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode()
    return Proxy(host=plain.host, port=plain.port, secure=plain.secure, authorization=authorization)
