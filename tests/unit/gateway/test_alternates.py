"""Another upstream stands in before the local tier does."""

import asyncio
import json
from collections.abc import Callable

import pytest
from rig import PATHS, Client, Rig, body
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.outcome import Failure
from fallback.tiers.alternate import Alternate
from fallback.upstream.mock import Fault, Script, SeenRequest, Wait
from fallback.upstream.transport import UpstreamConfig

JSON = ((b"content-type", b"application/json"),)
WHOLE = Script(headers=JSON, body=(b'{"id": "msg_1", "type": "message", "model": "theirs"}',))
BUSY = Script(status=529, headers=JSON, body=(b'{"error":{"type":"overloaded_error"}}',))


def standing_in(family: str, dialect: str | None = None) -> dict[str, Alternate]:
    upstream = UpstreamConfig(
        name="mirror", family=family, base_url="https://mirror.test", api_key="sk-mirror"
    )
    return {"mirror": Alternate(upstream=upstream, dialect=dialect, models={"*": "theirs"})}


def by_upstream(**scripts: Script) -> Callable[[SeenRequest], Script]:
    return lambda seen: scripts[seen.upstream]


def test_the_same_protocol_passes_but_for_the_models_name() -> None:
    """The alternate gets its own key and its own name for the model, and tells who it is."""

    async def story() -> tuple[Client, Rig]:
        rig = Rig(by_upstream(anthropic=BUSY, mirror=WHOLE), alternates=standing_in("anthropic"))
        client = Client(PATHS["anthropic"], body("anthropic", stream=False))
        client.headers = [(b"x-api-key", b"sk-client"), (b"content-type", b"application/json")]
        return await rig.ask(client), rig

    client, rig = run(story())
    assert (client.status, client.tier, client.got) == (200, "alternate", WHOLE.body[0])
    assert 'upstream="mirror"' in (client.header("llm-provenance") or "")
    sent = rig.transport.seen[-1]
    assert sent.body == body("anthropic", stream=False).replace(b"cloud-model", b"theirs")
    assert b"sk-client" not in b" ".join(value for _, value in sent.headers)
    assert (b"x-api-key", b"sk-mirror") in sent.headers
    assert rig.engine.requests == []


@pytest.mark.parametrize("stream", [True, False])
def test_another_protocol_is_translated(stream: bool) -> None:
    """The client hears its own dialect, the alternate speaks Chat Completions."""
    chat = {
        "choices": [{"index": 0, "message": {"content": "cloud"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 1},
    }
    answer = (
        Script(headers=EVENT_STREAM, body=STREAMS["openai-chat"])
        if stream
        else Script(headers=JSON, body=(json.dumps(chat).encode(),))
    )

    async def story() -> tuple[Client, Rig]:
        rig = Rig(by_upstream(anthropic=BUSY, mirror=answer), alternates=standing_in("openai"))
        return await rig.ask(Client(PATHS["anthropic"], body("anthropic", stream=stream))), rig

    client, rig = run(story())
    assert (client.status, client.tier, client.finishes) == (200, "alternate", 1)
    assert b'"cloud"' in client.got
    assert (b"message_stop" in client.got) is stream
    assert rig.transport.seen[-1].target == "/v1/chat/completions"
    assert json.loads(rig.transport.seen[-1].body)["model"] == "theirs"


def test_its_failures_are_its_own_and_the_local_tier_is_next() -> None:
    """Each upstream has its own health, and the client sees none of it."""

    async def story() -> tuple[list[str], Rig]:
        refused = Script(before=(Fault(Failure.REFUSED, sent=False),))
        rig = Rig(by_upstream(anthropic=BUSY, mirror=refused), alternates=standing_in("anthropic"))
        clients = [
            await rig.ask(Client(PATHS["anthropic"], body("anthropic", stream=False)))
            for _ in range(8)
        ]
        return [client.tier for client in clients], rig

    tiers, rig = run(story())
    assert tiers == ["local"] * 8
    asked = [seen.upstream for seen in rig.transport.seen]
    assert 1 <= asked.count("mirror") < 8


def test_a_silent_cloud_is_raced_by_the_alternate_and_that_by_the_local_tier() -> None:
    """Whoever is late has the next one beside it."""

    async def story(mirror: Script) -> tuple[str, float]:
        silent = Script(before=(Wait(1e9),))
        rig = Rig(by_upstream(anthropic=silent, mirror=mirror), alternates=standing_in("anthropic"))
        client = await rig.ask(Client(PATHS["anthropic"], body("anthropic", stream=True)))
        assert rig.transport.open_responses == 0
        return client.tier, asyncio.get_running_loop().time()

    well = Script(before=(Wait(1.0),), headers=EVENT_STREAM, body=STREAMS["anthropic"])
    assert run(story(well)) == ("alternate", 9.0)
    assert run(story(Script(before=(Wait(1e9),)))) == ("local", 16.0)


def test_an_alternates_broken_stream_is_gone_on_with_as_well() -> None:
    """The seam tells who began."""

    async def story() -> tuple[Client, Rig]:
        cut = Script(headers=EVENT_STREAM, body=STREAMS["anthropic"][:4])
        rig = Rig(by_upstream(anthropic=BUSY, mirror=cut), alternates=standing_in("anthropic"))
        return await rig.ask(Client(PATHS["anthropic"], body("anthropic", stream=True))), rig

    client, rig = run(story())
    assert b"message_stop" in client.got
    provenance = rig.records[-1].provenance
    assert provenance.tier == "spliced"
    assert [segment.tier for segment in provenance.segments] == ["alternate", "local"]
