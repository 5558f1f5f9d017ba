"""A slow or silent cloud: another tier starts beside it, and the first to commit wins."""

import asyncio
import json

import pytest
from rig import PATHS, Client, Rig, body
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.errors import EngineError
from fallback.core.health import Evidence, State, upstream_scope
from fallback.core.rules import Rule
from fallback.local.mock import Fail, Say, ScriptedEngine
from fallback.local.mock import Script as Play
from fallback.local.mock import Wait as Hold
from fallback.upstream.mock import Beat, Script, Wait

JSON = ((b"content-type", b"application/json"),)
WHOLE = b'{"id": "msg_1", "type": "message"}'


def streamed(*before: Beat, headers_after_s: float = 0.0) -> Script:
    wait = (Wait(headers_after_s),) if headers_after_s else ()
    return Script(before=wait, headers=EVENT_STREAM, body=(*before, *STREAMS["anthropic"]))


def request(*, stream: bool = True, model: str = "cloud-model", **fields: object) -> Client:
    sent = json.loads(body("anthropic", stream=stream))
    return Client(PATHS["anthropic"], json.dumps({**sent, "model": model, **fields}).encode())


async def timed(rig: Rig, client: Client) -> tuple[Client, float]:
    began = asyncio.get_running_loop().time()
    await rig.ask(client)
    return client, asyncio.get_running_loop().time() - began


def test_a_silent_cloud_is_answered_here_within_seconds() -> None:
    """Without anything learned, and its attempt is given up."""

    async def story() -> tuple[Client, float, Rig]:
        rig = Rig([Script(before=(Wait(1e9),))])
        return *await timed(rig, request()), rig

    client, took_s, rig = run(story())
    assert client.tier == "local"
    assert took_s < 10
    assert client.got.startswith(b"event: message_start")
    assert rig.records[0].provenance.attempts[-1].outcome.reason == "silent"
    assert rig.transport.open_responses == 0


def test_a_cloud_that_comes_first_after_all_is_taken() -> None:
    """The local tier was beside it, and what it had is freed."""

    async def story() -> tuple[Client, float, Rig]:
        slow = ScriptedEngine(Play(acts=(Hold(lambda: asyncio.sleep(60.0)), Say("late"))))
        rig = Rig([streamed(headers_after_s=9.0)], slow)
        return *await timed(rig, request()), rig

    client, took_s, rig = run(story())
    assert (client.tier, took_s) == ("cloud", 9.0)
    assert client.got == b"".join(STREAMS["anthropic"])
    assert len(rig.engine.requests) == len(rig.engine.closed) == 1


def test_headers_buy_an_unknown_model_more_time() -> None:
    """Reasoning may take a while, and a cloud that has said 200 is at work."""

    async def story(content_after_s: float) -> Client:
        return await Rig([streamed(Wait(content_after_s))]).ask(request())

    assert run(story(25.0)).tier == "cloud"
    assert run(story(1e9)).tier == "local"


def test_what_is_slow_is_learned() -> None:
    """After some answers within a second, five seconds of silence are slow; and then it counts."""

    async def story() -> tuple[list[str], float]:
        scripts = [streamed(headers_after_s=0.8 + 0.05 * (n % 5)) for n in range(12)]
        rig = Rig([*scripts, streamed(headers_after_s=30.0)])
        tiers = [(await rig.ask(request())).tier for _ in scripts]
        client, took_s = await timed(rig, request())
        return [*tiers, client.tier], took_s

    tiers, took_s = run(story())
    assert tiers == ["cloud"] * 12 + ["local"]
    assert took_s < 5


def test_an_answer_in_one_piece_gets_the_time_to_be_written() -> None:
    """Its headers come with its last token: 4000 tokens take more than a minute."""

    async def story(max_tokens: int) -> tuple[Client, float]:
        rig = Rig([Script(before=(Wait(60.0),), headers=JSON, body=(WHOLE,))])
        return await timed(rig, request(stream=False, max_tokens=max_tokens))

    assert run(story(4000))[0].tier == "cloud"
    client, took_s = run(story(50))
    assert client.tier == "local"
    assert took_s < 11


def test_a_client_in_a_hurry_is_answered_in_its_time() -> None:
    """Its own patience is ten seconds, and it tells so."""

    async def story() -> tuple[Client, float]:
        client = request()
        client.headers = [(b"x-stainless-read-timeout", b"10")]
        return await timed(Rig([Script(before=(Wait(1e9),))]), client)

    client, took_s = run(story())
    assert client.tier == "local"
    assert took_s < 5


def test_where_the_local_tier_cannot_the_cloud_has_all_its_time() -> None:
    """Nobody is served by giving up a slow cloud for nothing."""

    async def story() -> Client:
        broken = ScriptedEngine(Play(acts=(Fail(EngineError("out of memory")),), early=True))
        return await Rig([streamed(headers_after_s=100.0)], broken).ask(request())

    assert run(story()).tier == "cloud"


def test_a_long_silence_makes_somebody_look_and_bad_news_hurries() -> None:
    """The free look at the upstream says that it is dead: nobody waits on."""

    async def story() -> tuple[Client, float, Rig]:
        rig = Rig([Script(before=(Wait(1e9),))])
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, lambda: rig.take_down("anthropic"))
        return *await timed(rig, request(stream=False, max_tokens=4000)), rig

    client, took_s, rig = run(story())
    assert (client.tier, took_s) == ("local", 5.0)
    assert rig.looks == ["anthropic"]


def test_the_canary_has_the_local_tier_beside_it() -> None:
    """A cloud that is still silent costs the visitor seconds; one that is back answers itself."""

    async def story(content_after_s: float) -> tuple[Client, float, State]:
        rig = Rig([streamed(headers_after_s=content_after_s)])
        rig.take_down("anthropic")
        alive = Evidence(
            scope=upstream_scope("anthropic"), source="probe", weight=0.0, alive=True, summary="ok"
        )
        rig.board.record(alive, asyncio.get_running_loop().time())
        client, took_s = await timed(rig, request())
        assert len(rig.engine.requests) == len(rig.engine.closed) == 1
        return client, took_s, rig.board.state("anthropic")

    client, took_s, state = run(story(1.0))
    assert (client.tier, took_s) == ("cloud", 1.0)
    assert state is not State.DOWN
    client, took_s, state = run(story(1e9))
    assert client.tier == "local"
    assert took_s <= 8
    assert state is State.DOWN


def test_hedging_can_be_switched_off_by_rule() -> None:
    """Then only the deadline brings another tier in."""

    async def story() -> tuple[Client, float]:
        rig = Rig([Script(before=(Wait(1e9),))], rules=[Rule(hedge=False)])
        return await timed(rig, request())

    client, took_s = run(story())
    assert (client.tier, took_s) == ("local", 20.0)


@pytest.mark.parametrize("leaves_s", [3.0, 9.0])
def test_a_client_that_leaves_a_race_frees_both(leaves_s: float) -> None:
    """Before the second has started, and while both are at work."""

    async def story() -> Rig:
        engine = ScriptedEngine(Play(acts=(Hold(lambda: asyncio.sleep(1e6)),)))
        rig = Rig([Script(before=(Wait(1e9),))], engine)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rig.ask(request()), leaves_s)
        return rig

    rig = run(story())
    assert rig.transport.open_responses == 0
    assert len(rig.engine.requests) == len(rig.engine.closed) == (0 if leaves_s < 8 else 1)


def failing(*, after_s: float = 0.0) -> Script:
    error = b'{"type": "error", "error": {"type": "api_error", "message": "broken"}}'
    return Script(before=(Wait(after_s),), status=503, headers=JSON, body=(error,))


def test_an_upstream_that_failed_in_a_race_is_blamed_once() -> None:
    """The local tier was beside it already, and answers later: that is no second attempt."""

    async def story() -> Rig:
        slow = ScriptedEngine(Play(acts=(Hold(lambda: asyncio.sleep(3.0)), Say("here"))))
        rig = Rig([failing(after_s=9.0)], slow)
        assert (await rig.ask(request())).tier == "local"
        return rig

    tried = run(story()).records[0].provenance.attempts
    assert [attempt.outcome.reason for attempt in tried] == ["upstream-503"]


def test_the_request_that_tips_the_scale_tells_what_it_met() -> None:
    """Its bad news hurries on who waits, of whom it is none: it was not silent."""

    async def story() -> Rig:
        rig = Rig(lambda seen: failing())
        for nth in range(5):
            await rig.ask(request(metadata={"user_id": str(nth)}))
        assert rig.board.state("anthropic") is State.DOWN
        return rig

    told = [record.provenance for record in run(story()).records]
    assert {provenance.reason for provenance in told} == {"upstream-503", "upstream-down"}
    assert max(len(provenance.attempts) for provenance in told) == 1


def test_a_bad_key_hurries_nobody_else() -> None:
    """It says nothing about the answer that another client waits for."""

    async def story() -> tuple[Client, float]:
        refused = Script(status=401, headers=JSON, body=(b'{"error": {"message": "key"}}',))
        rig = Rig([streamed(headers_after_s=7.0), *[refused] * 3])
        waiting = asyncio.ensure_future(timed(rig, request()))
        await asyncio.sleep(1.0)
        for _ in range(3):
            revoked = request()
            revoked.headers = [(b"x-api-key", b"sk-revoked")]
            await rig.ask(revoked)
        assert rig.changes[-1].after is State.DOWN
        assert rig.engine.requests == []
        found = await waiting
        assert rig.engine.requests == []
        return found

    client, took_s = run(story())
    assert (client.tier, took_s) == ("cloud", 7.0)


@pytest.mark.parametrize(("leaves_s", "state"), [(60.0, State.DOWN), (10.0, State.HEALTHY)])
def test_clients_that_leave_a_silent_cloud_have_seen_an_outage(
    leaves_s: float, state: State
) -> None:
    """Where nobody else may answer them it would be tried in vain for ever; a hasty client is
    no evidence."""

    async def story() -> State:
        rig = Rig(lambda seen: Script(before=(Wait(1e9),)), rules=[Rule(tiers=("cloud",))])
        for _ in range(5):
            if rig.board.state("anthropic") is State.DOWN:
                break
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(rig.ask(request()), leaves_s)
        return rig.board.state("anthropic")

    assert run(story()) is state


def test_a_cloud_that_is_slower_for_good_is_taken_again() -> None:
    """That it takes six seconds now, and not one, is an outage for hours, and not for ever."""

    async def story() -> list[str]:
        waits = iter([1.0] * 20)
        rig, tiers = Rig(lambda seen: streamed(Wait(next(waits, 6.0)))), []
        for _ in range(20 + 8 * 60):
            tiers.append((await rig.ask(request())).tier)
            await asyncio.sleep(60.0)
        return tiers

    tiers = run(story())
    assert "local" in tiers[20:40]
    assert set(tiers[-60:]) == {"cloud"}


def test_a_cloud_that_hangs_for_hours_is_not_waited_for_the_longer() -> None:
    """Silence is no measure of how long an answer takes."""

    async def story() -> float:
        waits = iter([1.0] * 20)
        rig = Rig(lambda seen: streamed(headers_after_s=next(waits, 1e9)))
        longest_s = 0.0
        for _ in range(6 * 60):
            longest_s = max(longest_s, (await timed(rig, request()))[1])
            await asyncio.sleep(60.0)
        return longest_s

    assert run(story()) == pytest.approx(4.0)
