"""The story of one request, with every tier and every ending."""

import asyncio
import gzip
import json

import pytest
from rig import PATHS, Client, Rig, body
from streams import ERRORS, EVENT_STREAM, STREAMS
from virtual_time import run

from fallback.core.errors import BadRequest, EngineError
from fallback.core.health import Evidence, State, upstream_scope
from fallback.core.outcome import Failure
from fallback.local.mock import Fail, Say, ScriptedEngine
from fallback.local.mock import Script as Play
from fallback.local.mock import Wait as Hold
from fallback.upstream.mock import Fault, Script, Wait

JSON = ((b"content-type", b"application/json"),)
REFUSED = Script(before=(Fault(Failure.REFUSED, sent=False),))
OK = Script(headers=JSON, body=(b'{"id": "msg_1", "type": "message"}',))
ALIVE = Evidence(
    scope=upstream_scope("anthropic"),
    source="probe",
    weight=0.0,
    alive=True,
    summary="probe answered with 401",
)


def ask(rig: Rig, *, stream: bool = False, dialect: str = "anthropic") -> Client:
    return Client(PATHS[dialect], body(dialect, stream=stream))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 413, 422, 429])
def test_the_clients_own_errors_pass_through(status: int) -> None:
    """Byte for byte, without a word of evidence, and the local tier is not asked."""
    said = b'{"type": "error", "error": {"type": "x", "message": "y"}}'
    headers = (*JSON, (b"retry-after", b"7"))

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(status=status, headers=headers, body=(said,))])
        return await rig.ask(ask(rig)), rig

    client, rig = run(story())
    assert (client.status, client.got, client.tier) == (status, said, "cloud")
    assert client.header("retry-after") == "7"
    assert client.header("x-should-retry") == ("false" if status in (401, 403) else None)
    assert rig.board.state("anthropic") is State.HEALTHY
    assert rig.engine.requests == []


def test_headers_pass_without_those_of_the_hop() -> None:
    """Hop-by-hop fields and those that Connection names stay; order and repetition are kept."""
    answered = (
        (b"Content-Type", b"application/json"),
        (b"X-One", b"1"),
        (b"Set-Cookie", b"a=1"),
        (b"Set-Cookie", b"b=2"),
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"secret"),
        (b"Transfer-Encoding", b"chunked"),
    )
    sent = [
        (b"host", b"127.0.0.1:8484"),
        (b"x-api-key", b"sk-1"),
        (b"connection", b"keep-alive"),
        (b"te", b"trailers"),
        (b"anthropic-beta", b"a"),
        (b"anthropic-beta", b"b"),
        (b"content-length", b"3"),
    ]

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=answered, body=(b"{}",))])
        client = Client("/v1/messages", body("anthropic", stream=False), headers=sent)
        return await rig.ask(client), rig

    client, rig = run(story())
    assert client.got_headers[:4] == [
        (b"content-type", b"application/json"),
        (b"x-one", b"1"),
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
    ]
    assert {name for name, _ in client.got_headers[4:]} == {
        b"llm-provenance",
        b"proxy-status",
        b"via",
    }
    assert rig.transport.seen[0].headers == [
        (b"x-api-key", b"sk-1"),
        (b"anthropic-beta", b"a"),
        (b"anthropic-beta", b"b"),
    ]


def test_a_dead_cloud_is_not_asked_again() -> None:
    """Once it is down, requests cost the upstream nothing and the client no wait."""

    async def story() -> tuple[list[Client], Rig]:
        rig = Rig([REFUSED] * 4)
        return [await rig.ask(ask(rig)) for _ in range(10)], rig

    clients, rig = run(story())
    assert [client.tier for client in clients] == ["local"] * 10
    assert len(rig.transport.seen) <= 4
    last = json.loads(clients[-1].got)["provenance"]
    assert last["reason"] == "upstream-down"
    assert last["outage"].startswith("out-anthropic-")


def test_the_return_goes_by_one_canary() -> None:
    """After a sign of life one request goes to the cloud while the others stay here; then all."""

    async def story() -> tuple[list[str], Rig]:
        slow = Script(before=(Wait(1.0),), headers=JSON, body=(b'{"id": 1}',))
        rig = Rig([slow, OK, OK])
        rig.take_down("anthropic")
        rig.board.record(ALIVE, asyncio.get_running_loop().time())
        first = [rig.ask(ask(rig)) for _ in range(4)]
        tiers = [client.tier for client in await asyncio.gather(*first)]
        return [*tiers, (await rig.ask(ask(rig))).tier], rig

    tiers, rig = run(story())
    assert tiers == ["cloud", "local", "local", "local", "cloud"]
    assert rig.board.state("anthropic") is State.HEALTHY


def test_every_connection_header_and_proxy_status_is_heeded() -> None:
    """They are lists, and a list may come in several lines."""
    headers = (
        *JSON,
        (b"connection", b"x-a"),
        (b"connection", b"x-b"),
        (b"x-a", b"1"),
        (b"x-b", b"1"),
        (b"proxy-status", b"one"),
        (b"proxy-status", b"two"),
    )

    async def story() -> Client:
        rig = Rig([Script(headers=headers, body=(b'{"id": 1}',))])
        return await rig.ask(ask(rig))

    client = run(story())
    assert client.header("x-a") is client.header("x-b") is None
    told = client.header("proxy-status")
    assert told is not None
    assert told.startswith("one, two, fallback;")


def test_a_refused_key_is_told_once_not_to_be_tried_again() -> None:
    """Whatever the upstream said about it."""
    headers = (*JSON, (b"x-should-retry", b"true"))

    async def story() -> Client:
        rig = Rig([Script(status=401, headers=headers, body=(b"{}",))])
        return await rig.ask(ask(rig))

    said = [value for name, value in run(story()).got_headers if name == b"x-should-retry"]
    assert said == [b"false"]


COUNTED = Script(headers=JSON, body=(b'{"input_tokens": 3}',))


def count() -> Client:
    return Client("/v1/messages/count_tokens", body("anthropic", stream=False))


def test_counting_tokens_does_not_hide_an_outage_of_the_models() -> None:
    """Claude Code counts tokens in bursts, which works on while every answer fails."""
    busy = Script(status=529, headers=JSON, body=(b'{"error":{"type":"overloaded_error"}}',))

    async def story() -> list[str]:
        rig = Rig(lambda seen: COUNTED if "count_tokens" in seen.target else busy)
        for _ in range(6):
            last = await rig.ask(ask(rig))
            for _ in range(5):
                await rig.ask(count())
        return [json.loads(last.got)["provenance"]["reason"], (await rig.ask(count())).tier]

    assert run(story()) == ["model-down", "cloud"]


def test_only_a_request_that_infers_is_a_canary() -> None:
    """Counted tokens pass once the edge is back, but prove nothing about the models."""

    async def story() -> tuple[list[str], list[State]]:
        rig = Rig(lambda seen: COUNTED if "count_tokens" in seen.target else OK)
        rig.take_down("anthropic")
        rig.board.record(ALIVE, 0.0)
        tiers, states = [], []
        for client in (count(), ask(rig)):
            tiers.append((await rig.ask(client)).tier)
            states.append(rig.board.state("anthropic"))
        return tiers, states

    assert run(story()) == (["cloud", "cloud"], [State.RECOVERING, State.HEALTHY])


def test_a_canary_does_not_wait_long_for_silence() -> None:
    """The visitor who tries the return is answered here after seconds, not after a minute."""

    async def story() -> tuple[Client, float, Rig]:
        rig = Rig([Script(before=(Wait(1e9),))])
        rig.take_down("anthropic")
        rig.board.record(ALIVE, 0.0)
        client = await rig.ask(ask(rig, stream=True))
        return client, asyncio.get_running_loop().time(), rig

    client, took_s, rig = run(story())
    assert client.tier == "local"
    assert took_s < 10
    assert rig.board.state("anthropic") is State.DOWN


def test_one_upstreams_outage_is_not_the_others() -> None:
    """OpenAI's requests go on while Anthropic is down."""

    async def story() -> Client:
        rig = Rig([Script(headers=EVENT_STREAM, body=STREAMS["openai-chat"])])
        rig.take_down("anthropic")
        return await rig.ask(ask(rig, stream=True, dialect="openai-chat"))

    assert run(story()).tier == "cloud"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_frees_everything(stream: bool) -> None:
    """Before the headers, in the stream, or while the engine writes: nothing stays open."""

    async def leave(rig: Rig) -> None:
        task = asyncio.ensure_future(rig.ask(ask(rig, stream=stream)))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    async def story() -> None:
        silent = Script(before=(Wait(1e9),))
        midway = Script(headers=EVENT_STREAM, body=(*STREAMS["anthropic"][:4], Wait(1e9)))
        forever = asyncio.Event()
        engine = ScriptedEngine(Play(acts=(Say("well"), Hold(forever.wait))))
        rig = Rig([silent, midway, REFUSED, REFUSED], engine)
        for _ in range(3):
            await leave(rig)
        assert rig.transport.open_responses == 0
        assert engine.closed == [request.id for request in engine.requests] != []
        assert [record.ended for record in rig.records] == ["client-gone"] * 3
        assert rig.board.state("anthropic") is not State.DOWN

    run(story())


def test_a_client_that_leaves_after_the_last_event_has_its_answer() -> None:
    """Codex does not wait for the end of the response: that is no broken request."""

    async def story() -> None:
        slow_end = Script(headers=EVENT_STREAM, body=(*STREAMS["anthropic"], Wait(30.0)))
        rig = Rig([slow_end])
        rig.take_down("anthropic")
        rig.board.record(ALIVE, 0.0)
        task = asyncio.ensure_future(rig.ask(ask(rig, stream=True)))
        await asyncio.sleep(1.0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert rig.records[-1].ended == "complete"
        assert rig.board.state("anthropic") is State.HEALTHY

    run(story())


def test_a_canary_whose_client_left_makes_room() -> None:
    """A lost canary never blocks the return."""

    async def story() -> None:
        rig = Rig([Script(before=(Wait(1e9),)), OK])
        rig.take_down("anthropic")
        rig.board.record(ALIVE, 0.0)
        task = asyncio.ensure_future(rig.ask(ask(rig)))
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert (await rig.ask(ask(rig))).tier == "cloud"

    run(story())


def test_without_a_local_tier_the_upstreams_own_error_passes() -> None:
    """A 529 is the client's to see when nobody else can answer."""
    said = b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}'

    async def story() -> Client:
        rig = Rig([Script(status=529, headers=JSON, body=(said,))], local=False)
        return await rig.ask(ask(rig))

    client = run(story())
    assert (client.status, client.got, client.tier) == (529, said, "cloud")


def test_what_the_engine_cannot_express_is_not_the_clients_mistake() -> None:
    """The cloud was busy and the schema is beyond the grammar: the client sees the 529."""
    said = b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}'

    async def story() -> Client:
        refuses = Play(acts=(Fail(BadRequest("the output grammar is not usable")),), early=True)
        rig = Rig([Script(status=529, headers=JSON, body=(said,))], ScriptedEngine(refuses))
        return await rig.ask(ask(rig))

    client = run(story())
    assert (client.status, client.got, client.tier) == (529, said, "cloud")


def test_when_nobody_can_answer_the_client_is_told_why() -> None:
    """A 503 in its dialect names the cloud's failure and the engine's, and when to come back."""

    async def story() -> Client:
        engine = ScriptedEngine(not_ready="the model file is truncated; run `fallback models pull`")
        rig = Rig([REFUSED] * 2, engine)
        return await rig.ask(ask(rig))

    client = run(story())
    assert (client.status, client.tier) == (503, "none")
    error = json.loads(client.got)
    assert error["error"]["type"] == "overloaded_error"
    assert "truncated" in error["error"]["message"]
    assert error["provenance"]["attempts"][0]["outcome"] == "unreachable-refused"


@pytest.mark.parametrize("stream", [True, False])
def test_a_slow_answer_is_waited_for_where_nobody_else_may_answer(stream: bool) -> None:
    """Reasoning takes minutes; to cut it short would only lose it."""
    events = b"".join(STREAMS["anthropic"])
    answer = (EVENT_STREAM, events) if stream else (JSON, b'{"id": 1}')
    slow = Script(headers=answer[0], body=(Wait(300.0), answer[1]))

    async def story() -> tuple[Client, Rig]:
        rig = Rig([slow], local=False)
        return await rig.ask(ask(rig, stream=stream)), rig

    client, rig = run(story())
    assert (client.status, client.tier) == (200, "cloud")
    assert rig.board.state("anthropic") is State.HEALTHY


def test_silence_ends_where_nobody_else_may_answer_too() -> None:
    """No request waits for ever."""

    async def story() -> Client:
        return await Rig([Script(before=(Wait(1e9),))], local=False).ask(Client("/v1/files"))

    assert run(story()).status == 503


def test_embeddings_are_never_answered_by_another_model() -> None:
    """A clear 503 that forbids retries; an error of the cloud's own passes."""

    async def story(script: Script) -> tuple[Client, Rig]:
        rig = Rig([script] * 2)
        return await rig.ask(Client("/v1/embeddings", b'{"input": "x"}')), rig

    client, rig = run(story(REFUSED))
    assert client.status == 503
    assert client.header("x-should-retry") == "false"
    assert b"vectors" in client.got
    assert rig.engine.requests == []
    client, rig = run(story(Script(status=500, headers=JSON, body=(b"{}",))))
    assert (client.status, client.got, rig.engine.requests) == (500, b"{}", [])


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/messages/count_tokens", {"input_tokens": 7}),
        ("GET", "/v1/models", None),
        ("GET", "/v1/models/claude-x", None),
        ("HEAD", "/api/hello", None),
    ],
)
def test_the_small_operations_are_answered_in_an_outage(
    method: str, path: str, expected: dict[str, int] | None
) -> None:
    """count_tokens, models and the greeting of Claude Code keep working."""

    async def story() -> Client:
        rig = Rig([REFUSED] * 2)
        headers = [(b"anthropic-version", b"2023-06-01")]
        sent = body("anthropic", stream=False) if method == "POST" else b""
        return await rig.ask(Client(path, sent, method=method, headers=headers))

    client = run(story())
    assert (client.status, client.tier, client.finishes) == (200, "local", 1)
    answer = json.loads(client.got)
    if expected is not None:
        assert answer["input_tokens"] == expected["input_tokens"]
    elif "models" in path:
        assert b"scripted" in client.got


def test_an_engine_that_gives_up_in_mid_stream_says_so() -> None:
    """The client gets the dialect's error event, and the record says broken."""

    async def story() -> tuple[Client, Rig]:
        broken = Play(acts=(Say("so far"), Fail(EngineError("the worker crashed three times"))))
        rig = Rig([REFUSED] * 2, ScriptedEngine(broken))
        return await rig.ask(ask(rig, stream=True)), rig

    client, rig = run(story())
    assert b"so far" in client.got
    assert b"event: error" in client.got
    assert rig.records[-1].ended == "broken"


def test_a_slow_local_answer_keeps_the_client_waiting() -> None:
    """While the engine reads a long prompt the client gets pings."""

    async def story() -> Client:
        pause = Hold(lambda: asyncio.sleep(17.0))
        rig = Rig([REFUSED] * 2, ScriptedEngine(Play(acts=(pause, Say("at last")))))
        return await rig.ask(ask(rig, stream=True))

    got = run(story()).got
    assert got.count(b"event: ping") == 3
    assert b"at last" in got


def test_a_compressed_request_is_read_for_the_local_tier() -> None:
    """The cloud would have got its bytes untouched."""

    async def story() -> tuple[Client, Rig]:
        packed = gzip.compress(body("anthropic", stream=False))
        rig = Rig([REFUSED] * 2)
        headers = [(b"content-encoding", b"gzip")]
        return await rig.ask(Client("/v1/messages", packed, headers=headers)), rig

    client, rig = run(story())
    assert (client.status, client.tier) == (200, "local")
    assert rig.transport.seen[0].body[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("sent", [b"", b"{", b"[]", b'"hi"'])
def test_a_bad_body_gets_a_clear_error_of_its_dialect(sent: bytes) -> None:
    """In an outage too: 400, in the shape the client expects."""

    async def story() -> Client:
        return await Rig([REFUSED] * 2).ask(Client("/v1/messages", sent))

    client = run(story())
    assert client.status == 400
    assert json.loads(client.got)["error"]["type"] == "invalid_request_error"


def test_a_rate_limit_told_in_the_stream_is_passed_on() -> None:
    """An SSE error that means 429 is no outage: the client sees the cloud's own event."""
    event = ERRORS["anthropic"].replace(b"overloaded_error", b"rate_limit_error")

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=(event,))])
        return await rig.ask(ask(rig, stream=True)), rig

    client, rig = run(story())
    assert client.got == event
    assert client.tier == "cloud"
    assert rig.board.state("anthropic") is State.HEALTHY


def test_other_requests_stream_through_with_their_status() -> None:
    """Files, batches and whatever else comes are passed on as they are."""

    async def story() -> Client:
        big = (b"x" * 70_000, Wait(120.0 - 80.0), b"y" * 10)
        rig = Rig([Script(status=206, headers=((b"content-type", b"a/b"),), body=big)])
        return await rig.ask(Client("/v1/files/f1/content", method="GET"))

    client = run(story())
    assert (client.status, len(client.got), client.finishes) == (206, 70_010, 1)


def test_an_unfinished_file_is_aborted() -> None:
    """What is no event stream can only be cut off: never finished."""

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(body=(b"part", Fault(Failure.TRUNCATED)))])
        return await rig.ask(Client("/v1/files/f1/content", method="GET")), rig

    client, rig = run(story())
    assert (client.got, client.finishes) == (b"part", 0)
    assert rig.records[-1].ended == "broken"
