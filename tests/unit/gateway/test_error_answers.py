"""Error answers of the cloud that are not as they should be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from rig import Client, Rig, body
from virtual_time import run

from fallback.core.health import State, upstream_scope
from fallback.upstream.mock import Script, Wait

JSON = ((b"content-type", b"application/json"),)


def ask() -> Client:
    return Client("/v1/messages", body("anthropic", stream=False))


@pytest.mark.parametrize("status", [400, 401, 429])
def test_a_large_client_error_is_still_the_clients(status: int) -> None:
    """Its status decides; it passes as it comes and weighs nothing."""
    said = (b"x" * 700_000, b"y" * 700_000, b"z")

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(status=status, headers=JSON, body=said)])
        return await rig.ask(ask()), rig

    client, rig = run(story())
    assert (client.status, client.tier, client.got) == (status, "cloud", b"".join(said))
    assert client.finishes == 1
    assert rig.board.view(upstream_scope("anthropic"), 0.0).score == 0.0


def test_a_large_server_error_is_answered_here() -> None:
    """A page of megabytes about a 502 is a 502."""

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(status=502, body=(b"x" * 2_000_000,))])
        return await rig.ask(ask()), rig

    client, rig = run(story())
    assert (client.status, client.tier) == (200, "local")
    assert rig.records[-1].provenance.attempts[0].outcome.reason == "upstream-502"
    assert rig.transport.open_responses == 0


def test_an_answer_nested_without_end_is_no_answer() -> None:
    """It is JSON that nobody can read: answered here."""

    async def story() -> Client:
        nested = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
        return await Rig([Script(headers=JSON, body=(nested,))]).ask(ask())

    assert run(story()).tier == "local"


def test_a_long_error_message_is_cut() -> None:
    """Records are kept in memory, so an upstream must not decide on their size."""
    said = b'{"error":{"type":"overloaded_error","message":"' + b"m" * 900_000 + b'"}}'

    async def story() -> Rig:
        rig = Rig([Script(status=529, headers=JSON, body=(said,))])
        await rig.ask(ask())
        return rig

    facts = run(story()).records[-1].provenance.attempts[0].outcome.facts
    assert facts.error_message is not None
    assert len(facts.error_message) <= 1000


class Uploader(Client):
    """Its body is over the limit and comes slowly."""

    async def body(self, limit_bytes: int) -> AsyncIterator[bytes]:
        return self._slowly()

    async def _slowly(self) -> AsyncIterator[bytes]:
        for _ in range(10):
            await asyncio.sleep(30.0)
            yield b"x"


def test_a_slow_upload_is_not_the_upstreams_fault() -> None:
    """Deadlines count from the last byte that the client sent."""
    script = Script(status=413, headers=JSON, body=(Wait(1.0), b'{"error":{}}'))

    async def story() -> tuple[Client, Rig]:
        rig = Rig([script])
        return await rig.ask(Uploader("/v1/files")), rig

    client, rig = run(story())
    assert (client.status, client.got) == (413, b'{"error":{}}')
    assert rig.board.state("openai") is State.HEALTHY
