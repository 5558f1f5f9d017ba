"""The fault server itself: addresses that fail must fail in the way that they are named for."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Iterator

import pytest
from standin import HOST
from support import dead_ends
from support.fault import Cell, Fault
from support.named import resolve
from support.nameserver import NameServer, outcome, query, respond
from support.server import FaultServer

_IPV6 = b"\x00\x1c\x00\x01"


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer() as server:
        yield server


@pytest.mark.parametrize(
    ("name", "code", "address"),
    [
        ("api.nxdomain.test", 3, None),
        ("api.servfail.test", 2, None),
        ("api.example.org", 0, "127.0.0.1"),
    ],
)
def test_names_fail_by_what_they_are_called(name: str, code: int, address: str | None) -> None:
    """The name server's code and address go by the name asked for."""
    answer = respond(query(name, 77))
    assert answer is not None
    assert answer[:2] == b"\x00\x4d"
    assert outcome(answer) == (code, address)


def test_a_silent_name_is_never_answered() -> None:
    """A black hole swallows the question."""
    assert respond(query("api.silent.test", 1)) is None


def test_a_name_of_this_machine_has_no_ipv6_address() -> None:
    """A question for an AAAA record finds the name, and no address."""
    asked = query("api.example.org", 1)[:-4] + _IPV6
    answer = respond(asked)
    assert answer is not None
    assert outcome(answer) == (0, None)


@pytest.mark.parametrize(
    ("name", "code"),
    [("a.nxdomain.test", socket.EAI_NONAME), ("a.servfail.test", socket.EAI_AGAIN)],
)
def test_the_stub_raises_what_the_systems_resolver_raises(name: str, code: int) -> None:
    """A name that does not exist and a server that fails are told apart, as in getaddrinfo(3)."""
    with NameServer() as names:
        with pytest.raises(socket.gaierror) as caught:
            resolve(name, names.port)
        assert caught.value.errno == code
        assert resolve("api.example.org", names.port) == HOST


def test_a_full_queue_drops_syns() -> None:
    """A connection to it is neither made nor refused."""
    with dead_ends.dropping() as port, pytest.raises(TimeoutError):
        socket.create_connection((HOST, port), timeout=0.3)


def test_a_taken_port_refuses() -> None:
    """Nobody listens there."""
    with dead_ends.refusing() as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port), timeout=5)


def test_there_is_no_route_to_a_broadcast_address() -> None:
    """The kernel says so before anything is sent."""
    with pytest.raises(OSError, match="unreachable") as caught:
        socket.create_connection((dead_ends.NO_ROUTE, 80), timeout=5)
    assert caught.value.errno == errno.ENETUNREACH


def test_a_mute_server_never_shakes_hands() -> None:
    """TLS waits in vain for the server's hello."""
    with dead_ends.mute() as port:
        raw = socket.create_connection((HOST, port), timeout=0.3)
        with raw, pytest.raises(TimeoutError):
            ssl.create_default_context().wrap_socket(raw, server_hostname="localhost")


@pytest.mark.parametrize(
    ("place", "reason"),
    [("bad-certificate", "unable to get local issuer"), ("expired-certificate", "expired")],
)
def test_certificates_are_bad_for_the_right_reason(
    server: FaultServer, place: str, reason: str
) -> None:
    """Whoever trusts our authority refuses the one for its issuer, the other for its date."""
    fault = Fault(name="x", place=place)  # type: ignore[arg-type] # a literal of the table above
    port = int(server.base_url(Cell(fault, "chat", stream=False)).split(":")[2].split("/")[0])
    trusting = ssl.create_default_context(cadata=server.ca_pem.decode())
    raw = socket.create_connection((HOST, port), timeout=5)
    with raw, pytest.raises(ssl.SSLCertVerificationError, match=reason):
        trusting.wrap_socket(raw, server_hostname="localhost")
