"""Look-ups of names, in threads of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from aiohappyeyeballs import AddrInfoType
from support.named import resolve as ask_name_server
from support.nameserver import NameServer

from fallback.signals.resolver import Resolver

FOUND: AddrInfoType = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", 443))


class BlackHole:
    """Hangs until it is let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.let_go = threading.Event()

    def __call__(self, *args: Any, **hints: Any) -> Sequence[AddrInfoType]:
        self.asked += 1
        self.let_go.wait(60)
        return [FOUND]


async def test_the_systems_resolver_is_asked() -> None:
    """Numbers it knows by itself; RFC 6761 promises that this name does not exist."""
    resolver = Resolver(socket.getaddrinfo)
    assert (await resolver("127.0.0.1", 443))[0][4] == ("127.0.0.1", 443)
    with pytest.raises(OSError):  # noqa: PT011 - which one depends on the system
        await resolver("nowhere.invalid", 443)
    with pytest.raises(UnicodeError):
        await resolver("x" * 64, 443)


@pytest.mark.parametrize("name", ["a.nxdomain.test", "a.servfail.test"])
async def test_a_name_servers_refusal_is_an_error(name: str) -> None:
    """Asked over UDP; a name that it knows is found."""
    with NameServer() as server:

        def look_up(host: str, port: int, **hints: Any) -> Sequence[AddrInfoType]:
            return socket.getaddrinfo(ask_name_server(host, server.port), port, **hints)

        resolver = Resolver(look_up)
        with pytest.raises(socket.gaierror):
            await resolver(name, 443)
        assert (await resolver("api.test", 443))[0][4] == ("127.0.0.1", 443)


async def test_hanging_look_ups_are_bounded() -> None:
    """Each can be given up; past eight of a name no more are begun, until some come back."""
    hole = BlackHole()
    resolver = Resolver(hole)
    hanging = [asyncio.ensure_future(resolver("api.test", 443)) for _ in range(8)]
    await asyncio.sleep(0)
    for task in hanging[1:]:
        task.cancel()
    with pytest.raises(TimeoutError, match="still hang"):
        await resolver("api.test", 443)
    other = asyncio.ensure_future(resolver("other.test", 443))
    hole.let_go.set()
    assert await hanging[0] == [FOUND]
    assert await other == [FOUND]
    for thread in threading.enumerate():  # those that nobody waits for
        if thread.name.startswith("dns-"):
            await asyncio.to_thread(thread.join)
    assert await resolver("api.test", 443) == [FOUND]
    assert hole.asked == 10
