"""What was found on the way up to a host, rung by rung, and what each find means. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Literal, TypeAlias

import msgspec

from fallback.core.outcome import Failure

Step: TypeAlias = Literal["route", "proxy", "tunnel", "dns", "tcp", "tls", "answer"]


class Rung(msgspec.Struct, frozen=True, kw_only=True):
    """One step towards `host`: `proxy` reaches the HTTP proxy, `tunnel` is its answer to
    CONNECT, the others are the host's own. It held where there is no `failure`.

    `status` is the one of the answer, or of the proxy's; `addresses` what the name stands for.
    """

    host: str
    step: Step
    failure: Failure | None = None
    status: int | None = None
    addresses: tuple[str, ...] = ()
    detail: str = ""
    duration_s: float = 0.0


Climb: TypeAlias = Sequence[Rung]  # in order; the last one is where it ended


def is_private(host: str) -> bool:
    """Whether a host's name or address is of this machine or the own network.

    Names: RFC 6762 (local), RFC 8375 (home.arpa), RFC 6761 (localhost), ICANN's `internal`.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_PRIVATE_NAMES)
    if address.version == 4 and address in _FAKE:
        return False
    return address.is_private or (address.version == 4 and address in _SHARED)


_PRIVATE_NAMES = (".localhost", ".local", ".lan", ".internal", ".home.arpa")
_SHARED = ipaddress.IPv4Network("100.64.0.0/10")  # RFC 6598, also what overlay networks use
_FAKE = ipaddress.IPv4Network("198.18.0.0/15")  # what local tunnels answer for public names


def answer_failure(status: int, media_type: str, body: bytes, *, whole: bool) -> Failure | None:
    """Whether an answer is in the form of the API's: JSON, and no redirect.

    `body` may be only the beginning, not `whole`: then it need only look the part.
    """
    if _is_html(media_type, body):
        return Failure.HTML
    if 300 <= status < 400 or not _is_json(media_type, body, whole):
        return Failure.NOT_JSON
    return None


def _is_html(media_type: str, body: bytes) -> bool:
    return "html" in media_type or body.lstrip()[:9].lower().startswith((b"<!doctype", b"<html"))


def _is_json(media_type: str, body: bytes, whole: bool) -> bool:
    if not whole:
        return "json" in media_type and body.lstrip()[:1] in (b"{", b"[")
    try:
        msgspec.json.decode(body)
    except (ValueError, RecursionError):
        return False
    return True
