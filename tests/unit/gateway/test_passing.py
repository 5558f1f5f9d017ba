"""Which requests the gateway tells of, for the local tier to get ready for."""

from __future__ import annotations

import asyncio
import gzip

import pytest
from rig import PATHS, Client, Rig, body
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.outcome import Failure
from fallback.core.rules import Match, Rule
from fallback.upstream.mock import Fault, Script

JSON = ((b"content-type", b"application/json"),)
OK = Script(headers=JSON, body=(b'{"id": "msg_1", "type": "message"}',))
REFUSED = Script(before=(Fault(Failure.REFUSED, sent=False),))


def passed_of(client: Client, *scripts: Script, rules: tuple[Rule, ...] = ()) -> Rig:
    """What one client's request leaves behind."""

    async def story() -> Rig:
        rig = Rig(scripts, rules=rules)
        await rig.ask(client)
        await asyncio.sleep(0)
        return rig

    return run(story())


@pytest.mark.parametrize("dialect", list(PATHS))
def test_an_answered_request_is_told(dialect: str) -> None:
    """Its body as it came, with the dialect to read it in."""
    sent = body(dialect, stream=False)
    (told,) = passed_of(Client(PATHS[dialect], sent), OK).passed
    assert (told.body, told.strain.dialect, told.coding) == (sent, dialect, None)


@pytest.mark.parametrize("dialect", list(PATHS))
def test_a_stream_is_told(dialect: str) -> None:
    """Once, like an answer in one piece."""
    stream = Script(headers=EVENT_STREAM, body=tuple(STREAMS[dialect]))
    rig = passed_of(Client(PATHS[dialect], body(dialect, stream=True)), stream)
    assert len(rig.passed) == 1


def test_a_compressed_body_is_told_as_it_is() -> None:
    """Nobody decodes it on the way."""
    sent = gzip.compress(body("anthropic", stream=False))
    headers = [(b"content-encoding", b"gzip")]
    (told,) = passed_of(Client("/v1/messages", sent, headers=headers), OK).passed
    assert (told.body, told.coding) == (sent, "gzip")


def test_what_the_local_tier_answered_is_told() -> None:
    """Its conversation goes on, maybe still without the cloud."""
    rig = passed_of(Client("/v1/messages", body("anthropic", stream=False)), REFUSED, REFUSED)
    assert rig.records[0].provenance.tier == "local"
    assert len(rig.passed) == 1


@pytest.mark.parametrize(
    "client",
    [
        Client("/v1/messages/count_tokens", b'{"model":"m","messages":[]}'),
        Client("/v1/embeddings", b'{"model":"m","input":"x"}'),
        Client("/v1/files", b"{}"),
        Client("/v1/messages", method="GET"),
    ],
    ids=lambda client: f"{client.method}-{client.path}",
)
def test_no_other_operation_is_told(client: Client) -> None:
    """Counting tokens, embeddings and whatever is no question for an answer."""
    assert passed_of(client, OK).passed == []


def test_a_refused_request_is_not_told() -> None:
    """What the upstream says no to is no conversation to get ready for."""
    client = Client("/v1/messages", body("anthropic", stream=False))
    assert passed_of(client, Script(status=400, headers=JSON, body=(b"{}",))).passed == []


@pytest.mark.parametrize(
    "rule", [Rule(local="never", reason="Contracts."), Rule(tiers=("cloud",))], ids=str
)
def test_what_the_local_tier_may_not_answer_is_not_told(rule: Rule) -> None:
    """An operator's rule against a local answer is one against its getting ready, too."""
    client = Client("/v1/messages", body("anthropic", stream=False))
    assert passed_of(client, OK, rules=(rule,)).passed == []
    other = Rule(match=Match(model="other-*"), local="never", reason="Contracts.")
    client = Client("/v1/messages", body("anthropic", stream=False))
    assert len(passed_of(client, OK, rules=(other,)).passed) == 1
