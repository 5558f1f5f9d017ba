"""The operator's rules and the client's wishes, as the gateway heeds them."""

import asyncio
import json

import captured
from rig import PATHS, Client, Rig, body
from streams import EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.health import Evidence, State, upstream_scope
from fallback.core.outcome import Failure
from fallback.core.rules import Match, Rule
from fallback.local.mock import Say, ScriptedEngine, Wait
from fallback.local.mock import Script as Play
from fallback.upstream.mock import Fault, Script
from fallback.upstream.mock import Wait as Hold

JSON = ((b"content-type", b"application/json"),)
OK = Script(headers=JSON, body=(b'{"id": "msg_1", "type": "message"}',))
REFUSED = Script(before=(Fault(Failure.REFUSED, sent=False),))
LIMITED = Script(
    status=429, headers=(*JSON, (b"retry-after", b"30")), body=(b'{"error":{"type":"rate_limit"}}',)
)


def request(**headers: str) -> Client:
    client = Client(PATHS["anthropic"], body("anthropic", stream=False))
    client.headers = [
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    ]
    return client


def test_a_cloud_only_request_gets_an_honest_refusal() -> None:
    """At once while the cloud is down: since when, which outage, why, and when to come again."""
    rule = Rule(name="contracts", match=Match(header={"x-app": "contracts"}), tiers=("cloud",))

    async def story() -> tuple[Client, Rig]:
        rig = Rig([], rules=[rule])
        rig.take_down("anthropic")
        return await rig.ask(request(x_app="contracts")), rig

    client, rig = run(story())
    assert client.status == 503
    assert client.header("x-should-retry") == "false"
    assert int(client.header("retry-after") or 0) > 0
    error = json.loads(client.got)
    assert error["error"]["code"] == "cloud_only"
    assert error["provenance"]["outage"].startswith("out-anthropic-")
    for told in ("since 1970-01-01", "out-anthropic-", "rule 'contracts'"):
        assert told in error["error"]["message"]
    assert rig.transport.seen == []


def test_a_compaction_is_never_a_small_models() -> None:
    """Its summary would replace the session's history for good."""
    sent = json.dumps(captured.body("cctui-compact")).encode()

    async def story() -> tuple[Client, Rig]:
        rig = Rig([REFUSED] * 2)
        return await rig.ask(Client("/v1/messages", sent)), rig

    client, rig = run(story())
    assert client.status == 503
    assert json.loads(client.got)["error"]["code"] == "cloud_only"
    assert rig.engine.requests == []


def test_a_rate_limit_passes_unless_the_rules_hand_it_on() -> None:
    """And a limited key is not asked again before its time, whoever answers meanwhile."""

    async def story(rules: list[Rule]) -> tuple[list[str], int]:
        rig = Rig([LIMITED, OK], rules=rules)
        clients = [await rig.ask(request(x_api_key="sk-1")) for _ in range(2)]
        return [client.tier for client in clients], len(rig.transport.seen)

    assert run(story([])) == (["cloud", "cloud"], 2)
    assert run(story([Rule(on_rate_limit="next")])) == (["local", "local"], 1)


def test_a_client_may_ask_for_less_where_it_is_allowed() -> None:
    """Where not, it is told so instead of being ignored; the header stays here in any case."""

    async def story(may: tuple[str, ...]) -> tuple[Client, Rig]:
        rig = Rig([REFUSED] * 2, client_may=may)  # type: ignore[arg-type]
        return await rig.ask(request(fallback_policy="tiers=(cloud)")), rig

    client, rig = run(story(("tiers",)))
    assert (client.status, client.tier) == (503, "none")
    assert rig.engine.requests == []
    assert all(name != b"fallback-policy" for name, _ in rig.transport.seen[0].headers)
    client, rig = run(story(()))
    assert client.status == 400
    assert rig.transport.seen == []


def test_a_refused_connection_is_tried_once_more_at_once() -> None:
    """Nothing had been sent; and the budget for it is not endless."""

    async def story() -> tuple[list[str], int]:
        rig = Rig([REFUSED, OK])
        client = await rig.ask(request())
        return [client.tier], len(rig.transport.seen)

    assert run(story()) == (["cloud"], 2)


def test_an_answer_that_the_rules_give_to_the_local_tier_says_so() -> None:
    """The cloud was well and not asked; and the engine hears how urgent it is."""

    async def story() -> tuple[Client, Rig]:
        rig = Rig([], rules=[Rule(tiers=("local",), priority=7)])
        return await rig.ask(request()), rig

    client, rig = run(story())
    assert "reason=policy" in (client.header("llm-provenance") or "")
    assert rig.records[0].provenance.reason == "policy"
    assert [asked.priority for asked in rig.engine.requests] == [7]


def test_who_never_asks_the_cloud_is_no_canary() -> None:
    """Its turn would be lost to those who do."""
    rule = Rule(match=Match(header={"x-app": "private"}), tiers=("local",))

    async def story() -> tuple[str, str]:
        engine = ScriptedEngine(Play(acts=(Wait(lambda: asyncio.sleep(20.0)), Say("here"))))
        rig = Rig([OK], engine, rules=[rule])
        rig.take_down("anthropic")
        alive = Evidence(
            scope=upstream_scope("anthropic"), source="probe", weight=0.0, alive=True, summary="ok"
        )
        rig.board.record(alive, asyncio.get_running_loop().time())
        private = asyncio.ensure_future(rig.ask(request(x_app="private")))
        await asyncio.sleep(1.0)
        public = await rig.ask(request())
        return (await private).tier, public.tier

    assert run(story()) == ("local", "cloud")


def test_tokens_are_counted_by_a_cloud_whose_edge_is_back() -> None:
    """Who only counts is no canary, and is not kept from the true number until somebody is."""

    async def story() -> tuple[list[str], State]:
        counted = Script(headers=JSON, body=(b'{"input_tokens": 3}',))
        rig = Rig(lambda seen: counted)
        rig.take_down("anthropic")
        down = await rig.ask(Client("/v1/messages/count_tokens", body("anthropic", stream=False)))
        alive = Evidence(
            scope=upstream_scope("anthropic"), source="probe", weight=0.0, alive=True, summary="ok"
        )
        rig.board.record(alive, asyncio.get_running_loop().time())
        back = await rig.ask(Client("/v1/messages/count_tokens", body("anthropic", stream=False)))
        return [down.tier, back.tier], rig.board.state("anthropic")

    assert run(story()) == (["local", "cloud"], State.RECOVERING)


def test_a_stream_that_stalls_is_mended_within_the_clients_patience() -> None:
    """The client would be gone before the deadline of its own accord."""

    async def story() -> tuple[Client, float]:
        stalling = Script(headers=EVENT_STREAM, body=(*STREAMS["anthropic"][:4], Hold(1e9)))
        client = Client(PATHS["anthropic"], body("anthropic", stream=True))
        client.headers = [(b"x-stainless-read-timeout", b"12")]
        await Rig([stalling]).ask(client)
        return client, asyncio.get_running_loop().time()

    client, took_s = run(story())
    assert b"message_stop" in client.got
    assert took_s < 12


def test_what_is_critical_is_first_in_the_local_queue() -> None:
    """Whatever priority the others were given."""

    async def story(rule: Rule) -> int:
        rig = Rig([REFUSED] * 2, rules=[rule])
        await rig.ask(request())
        return rig.engine.requests[0].priority

    assert run(story(Rule(critical=True))) > run(story(Rule(priority=100)))


def test_a_cloud_slow_for_good_is_found_again() -> None:
    """The longer an outage lasts, the more time a canary has, up to what an answer may take."""

    async def story(age_s: float) -> str:
        slow = Script(before=(Hold(50.0),), headers=JSON, body=(b'{"id": "msg_1"}',))
        rig = Rig([slow])
        rig.take_down("anthropic")
        await asyncio.sleep(age_s)
        alive = Evidence(
            scope=upstream_scope("anthropic"), source="probe", weight=0.0, alive=True, summary="ok"
        )
        rig.board.record(alive, asyncio.get_running_loop().time())
        sent = {**json.loads(body("anthropic", stream=False)), "max_tokens": 4000}
        client = Client(PATHS["anthropic"], json.dumps(sent).encode())
        return (await rig.ask(client)).tier

    assert run(story(60.0)) == "local"
    assert run(story(1800.0)) == "cloud"
