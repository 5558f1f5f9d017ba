"""Stories of requests with alternates, in every pair of dialects: who answers, what is told."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Callable, Mapping

import pytest
from rig import PATHS, Client, Rig, body
from streams import ERRORS, EVENT_STREAM, PROLOGUES, STREAMS
from virtual_time import run

from fallback.core.health import Evidence, State, upstream_scope
from fallback.core.outcome import Failure
from fallback.core.rules import Rule
from fallback.tiers.alternate import Alternate
from fallback.upstream.mock import Fault, Script, SeenRequest
from fallback.upstream.transport import UpstreamConfig

CLAUDE = "anthropic"
JSON = ((b"content-type", b"application/json"),)
DOWN = Script(status=503, headers=JSON, body=(b'{"error": {"message": "down"}}',))
TOO_LONG = Script(status=400, headers=JSON, body=(b'{"error": {"message": "too long"}}',))
WHOLE = {
    "anthropic": b'{"content": [{"type": "text", "text": "cloud"}], "stop_reason": "end_turn"}',
    "openai-chat": b'{"choices": [{"message": {"content": "cloud"}, "finish_reason": "stop"}]}',
    "openai-responses": b'{"status": "completed", "output": [{"type": "message", "content": '
    b'[{"type": "output_text", "text": "cloud"}]}]}',
}
PAIRS = [(client, server) for client in PATHS for server in PATHS]


def backup(dialect: str, name: str = "backup") -> Alternate:
    family = "anthropic" if dialect == "anthropic" else "openai"
    upstream = UpstreamConfig(
        name=name, family=family, base_url=f"https://{name}.test", api_key="sk-backup"
    )
    return Alternate(upstream=upstream, dialect=dialect, models={"*": "big-one"})


def answering(scripts: Mapping[str, Script]) -> Callable[[SeenRequest], Script]:
    """By upstream; one that is not named is down."""
    return lambda request: scripts.get(request.upstream, DOWN)


def good(dialect: str, *, stream: bool = True) -> Script:
    if stream:
        return Script(headers=EVENT_STREAM, body=STREAMS[dialect])
    return Script(headers=JSON, body=(WHOLE[dialect],))


def asked(
    client: str,
    alternates: Mapping[str, Alternate],
    scripts: Mapping[str, Script],
    *,
    stream: bool = True,
    down: tuple[str, ...] = (),
    rules: tuple[Rule, ...] = (),
) -> tuple[Client, Rig]:
    async def story() -> tuple[Client, Rig]:
        rig = Rig(answering(scripts), alternates=alternates, rules=rules)
        for name in down:
            rig.take_down(name)
        return await rig.ask(Client(PATHS[client], body(client, stream=stream))), rig

    return run(story())


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_the_origin_of_an_alternates_answer_is_told(client: str, server: str, stream: bool) -> None:
    """Who it was, why it was asked, and every attempt; the answer is whole."""
    scripts = {"backup": good(server, stream=stream)}
    answered, rig = asked(client, {"backup": backup(server)}, scripts, stream=stream)
    assert (answered.status, answered.tier, answered.finishes) == (200, "alternate", 1)
    assert b"cloud" in answered.got
    told = answered.header("llm-provenance") or ""
    assert 'upstream="backup"' in told
    assert "reason=upstream-503" in told
    (record,) = rig.records
    assert (record.ended, record.provenance.tier) == ("complete", "alternate")
    assert [attempt.outcome.reason for attempt in record.provenance.attempts][-1] == "ok"
    assert rig.transport.open_responses == 0


def test_a_cloud_that_is_down_is_not_asked_first() -> None:
    """The alternate answers at once, and the outage is why."""
    answered, rig = asked(
        "anthropic",
        {"backup": backup("openai-chat")},
        {"backup": good("openai-chat", stream=False)},
        stream=False,
        down=("anthropic",),
    )
    assert "reason=upstream-down" in (answered.header("llm-provenance") or "")
    assert [request.upstream for request in rig.transport.seen] == ["backup"]


@pytest.mark.parametrize(
    "failure", [DOWN, TOO_LONG, Script(before=(Fault(Failure.REFUSED, sent=False),))]
)
def test_an_alternate_that_fails_leaves_it_to_the_next(failure: Script) -> None:
    """The second alternate answers; the client hears nothing of the first."""
    two = {"first": backup("openai-chat", "first"), "second": backup("anthropic", "second")}
    answered, rig = asked("anthropic", two, {"first": failure, "second": good("anthropic")})
    assert (answered.status, answered.tier) == (200, "alternate")
    assert 'upstream="second"' in (answered.header("llm-provenance") or "")
    assert b"too long" not in answered.got
    (record,) = rig.records
    assert {attempt.upstream for attempt in record.provenance.attempts} == {"anthropic", *two}


def test_an_alternate_that_is_down_itself_is_passed_over() -> None:
    """It has a health of its own, and is not asked in vain."""
    answered, rig = asked(
        "anthropic",
        {"backup": backup("anthropic")},
        {"backup": good("anthropic")},
        down=("anthropic", "backup"),
    )
    assert answered.tier == "local"
    assert rig.transport.seen == []


def test_an_alternate_comes_back_by_a_canary() -> None:
    """A sign of life lets a request try it, and its answer counts."""

    async def story() -> tuple[list[str], State]:
        rig = Rig(answering({"backup": good("anthropic")}), alternates={"backup": backup(CLAUDE)})
        for name in ("anthropic", "backup"):
            rig.take_down(name)
        now = asyncio.get_running_loop().time
        tiers: list[str] = []
        for _ in range(4):
            client = await rig.ask(Client(PATHS[CLAUDE], body(CLAUDE, stream=True)))
            tiers.append(client.tier)
            await asyncio.sleep(60)
            rig.board.record(sign_of_life("backup"), now())
        return tiers, rig.board.state("backup")

    tiers, state = run(story())
    assert tiers == ["local", "alternate", "alternate", "alternate"]
    assert state is State.HEALTHY


def test_the_outage_that_is_told_is_the_clouds() -> None:
    """That the alternate fails as well is not why the local tier was needed in the first place."""
    answered, rig = asked("anthropic", {"backup": backup("anthropic")}, {})
    assert answered.tier == "local"
    assert (rig.records[0].provenance.outage or "").startswith("out-anthropic-")


def test_an_alternate_behind_a_living_edge_comes_back_without_a_sign() -> None:
    """Free probes have nothing new to tell of it: only a request can find out."""

    async def story() -> tuple[State, str, State]:
        scripts = {"backup": DOWN}
        rig = Rig(answering(scripts), alternates={"backup": backup(CLAUDE)})
        for nth in range(10):
            sent = body(CLAUDE, stream=True).replace(b"anybody", f"number {nth}".encode())
            await rig.ask(Client(PATHS[CLAUDE], sent))
        before = rig.board.state("backup")
        scripts["backup"] = good(CLAUDE)
        await asyncio.sleep(600)
        client = await rig.ask(Client(PATHS[CLAUDE], body(CLAUDE, stream=True)))
        return before, client.tier, rig.board.state("backup")

    before, tier, after = run(story())
    assert (before, tier) == (State.DOWN, "alternate")
    assert after is not State.DOWN


def sign_of_life(upstream: str) -> Evidence:
    return Evidence(
        scope=upstream_scope(upstream), source="probe", weight=0.0, summary="it answers", alive=True
    )


def test_rules_may_leave_alternates_out() -> None:
    """Who may answer is the operator's to say."""
    answered, rig = asked(
        "anthropic",
        {"backup": backup("anthropic")},
        {"backup": good("anthropic")},
        rules=(Rule(tiers=("cloud", "local")),),
    )
    assert answered.tier == "local"
    assert "backup" not in {request.upstream for request in rig.transport.seen}


@pytest.mark.parametrize(("client", "server"), PAIRS)
def test_an_alternates_stream_that_breaks_is_gone_on_with(client: str, server: str) -> None:
    """The local tier finishes it in the client's dialect, and who said what is told."""
    at = PROLOGUES[server] + (1 if server == "openai-chat" else 2)
    broken = Script(headers=EVENT_STREAM, body=(*STREAMS[server][:at], ERRORS[server]))
    answered, rig = asked(client, {"backup": backup(server)}, {"backup": broken})
    (record,) = rig.records
    assert record.ended == "complete", record.detail
    assert [segment.tier for segment in record.provenance.segments] == ["alternate", "local"]
    assert record.provenance.upstream == "backup"
    assert b"cloud" in answered.got
    assert b"Hello" in answered.got


def test_a_packed_request_goes_there_plain() -> None:
    """It is unpacked, since its model has to be renamed."""
    packed = gzip.compress(body("anthropic", stream=True))
    headers = [(b"content-type", b"application/json"), (b"content-encoding", b"gzip")]

    async def story() -> SeenRequest:
        rig = Rig(
            answering({"backup": good("anthropic")}), alternates={"backup": backup("anthropic")}
        )
        await rig.ask(Client(PATHS["anthropic"], packed, headers=headers))
        return rig.transport.seen[-1]

    request = run(story())
    assert json.loads(request.body)["model"] == "big-one"
    assert b"content-encoding" not in dict(request.headers)
