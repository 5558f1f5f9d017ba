"""A client that waits hears something every few seconds."""

from __future__ import annotations

import asyncio

import pytest

from fallback.tiers.keepalive import kept_alive

SILENCE_S = 0.01


class Client:
    """Hears chunks, and can be slow to take one."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()
        self.more = asyncio.Event()

    async def send(self, chunk: bytes) -> None:
        self.heard.append(chunk)
        self.more.set()
        await self.reads.wait()

    async def hears(self, count: int) -> None:
        """Wait until it has heard so many."""
        while len(self.heard) < count:
            self.more.clear()
            await self.more.wait()


async def test_silence_is_broken_again_and_again() -> None:
    """Also before anything was said; and no more once the answer is over."""
    client = Client()
    async with kept_alive(client.send, lambda: b"ping", SILENCE_S) as send:
        await client.hears(2)
        await send(b"word")
        await client.hears(5)
    heard = list(client.heard)
    await asyncio.sleep(0)
    assert heard[:3] == [b"ping", b"ping", b"word"]
    assert set(heard[3:]) == {b"ping"}
    assert client.heard == heard


async def test_nothing_is_added_while_something_is_said() -> None:
    """No keepalive before the silence is over."""
    client = Client()
    async with kept_alive(client.send, lambda: b"ping", 60.0) as send:
        for _ in range(3):
            await send(b"word")
    assert client.heard == [b"word"] * 3


async def test_a_client_that_does_not_read_is_left_alone() -> None:
    """What it has not taken yet keeps it busy."""
    client = Client()
    client.reads.clear()
    async with kept_alive(client.send, lambda: b"ping", SILENCE_S) as send:
        saying = asyncio.ensure_future(send(b"word"))
        await client.hears(1)
        done = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(5 * SILENCE_S, done.set_result, None)
        await done
        assert client.heard == [b"word"]
        client.reads.set()
        await saying
        await client.hears(2)
    assert client.heard[1] == b"ping"


async def test_the_answers_own_failure_is_not_hidden() -> None:
    """And the watch ends with it."""
    client = Client()
    with pytest.raises(ValueError, match="broken"):
        async with kept_alive(client.send, lambda: b"ping", 60.0):
            raise ValueError("broken")
