"""Addresses on loopback where a connection goes wrong, and certificates nobody should accept.

None of them needs privileges, and none sends a packet to another machine.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import NamedTuple

import trustme
from standin import HOST

# Linux refuses TCP to a broadcast address with ENETUNREACH before anything is sent
# (net/ipv4/tcp_ipv4.c, tcp_v4_connect).
NO_ROUTE = "127.255.255.255"

_BACKLOG_FILL = 3


@contextmanager
def refusing() -> Iterator[int]:
    """A port that refuses: it is taken, so that nobody else can listen there."""
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        yield int(taken.getsockname()[1])


@contextmanager
def dropping() -> Iterator[int]:
    """A port whose SYNs are dropped: a full accept queue, which Linux answers with nothing."""
    with socket.socket() as full:
        full.bind((HOST, 0))
        full.listen(0)
        waiting = [_begin_to_connect(full.getsockname()) for _ in range(_BACKLOG_FILL)]
        try:
            yield int(full.getsockname()[1])
        finally:
            for client in waiting:
                client.close()


def _begin_to_connect(address: tuple[str, int]) -> socket.socket:
    client = socket.socket()
    client.setblocking(False)
    client.connect_ex(address)
    return client


@contextmanager
def mute() -> Iterator[int]:
    """A port that takes connections and never says a word: TLS does not get beyond hello."""
    with socket.create_server((HOST, 0), backlog=1024) as listening:
        yield int(listening.getsockname()[1])


class Trust(NamedTuple):
    """A CA as PEM; a server's context that is good to whoever trusts it, and two that are not."""

    ca_pem: bytes
    good: ssl.SSLContext
    stranger: ssl.SSLContext
    expired: ssl.SSLContext


def trust(name: str) -> Trust:
    """`name` is the host's in all certificates."""
    ours, others = trustme.CA(), trustme.CA()
    past = datetime(2020, 1, 1, tzinfo=UTC)
    return Trust(
        ca_pem=ours.cert_pem.bytes(),
        good=_context(ours.issue_cert(name)),
        stranger=_context(others.issue_cert(name)),
        expired=_context(ours.issue_cert(name, not_before=past, not_after=past.replace(year=2021))),
    )


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context
