"""A cloud stream that breaks after content is gone on with in the same response."""

import json

import pytest
from rig import PATHS, Client, Rig, body
from streams import ERRORS, EVENT_STREAM, PROLOGUES, STREAMS
from virtual_time import run

from fallback.core.errors import EngineError
from fallback.core.outcome import Failure
from fallback.core.rules import Rule
from fallback.local.mock import Fail, Say, ScriptedEngine
from fallback.local.mock import Script as Play
from fallback.upstream.mock import Beat, Fault, Script, Wait

DIALECTS = list(PATHS)
BREAKS: dict[str, tuple[Beat, ...]] = {
    "early-end": (),
    "stall": (Wait(1e9),),
    "truncated": (Fault(Failure.TRUNCATED),),
    "reset": (b'event: x\ndata: {"half', Fault(Failure.RESET)),
    "malformed": (b'data: {"choices": [{\n\n',),
}
TOOL_CALL = (
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":'
    b'{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"input_json_delta","partial_json":"{\\"at\\": \\"the"}}\n\n'
)
TOOLS = [{"name": "look", "input_schema": {"type": "object"}}]


def begun(dialect: str) -> tuple[bytes, ...]:
    """A stream up to its first content."""
    return STREAMS[dialect][: PROLOGUES[dialect] + (2 if dialect != "openai-chat" else 1)]


async def ask(rig: Rig, dialect: str, **fields: object) -> Client:
    sent = json.loads(body(dialect, stream=True))
    return await rig.ask(Client(PATHS[dialect], json.dumps({**sent, **fields}).encode()))


@pytest.mark.parametrize("end", [*BREAKS, "error"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_another_model_goes_on(dialect: str, end: str) -> None:
    """The client has one whole answer: the cloud's words, then ours, and it is told where."""
    beats = (ERRORS[dialect],) if end == "error" else BREAKS[end]

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=(*begun(dialect), *beats))])
        return await ask(rig, dialect), rig

    client, rig = run(story())
    sent = b"".join(begun(dialect))
    assert client.got.startswith(sent)
    rest = client.got[len(sent) :]
    assert b"half" not in rest
    assert b"event: error" not in rest
    assert b"Hello" in rest
    assert rest.startswith(b": ")
    assert rig.engine.requests[0].prefix == "cloud"
    assert (client.finishes, rig.records[-1].ended) == (1, "complete")
    segments = rig.records[-1].provenance.segments
    assert [(segment.from_char, segment.tier) for segment in segments] == [
        (0, "cloud"),
        (5, "local"),
    ]
    assert rig.transport.open_responses == 0


def test_where_the_engine_cannot_go_on_the_stream_says_so() -> None:
    """Never a proper end."""

    async def story() -> tuple[Client, Rig]:
        broken = ScriptedEngine(Play(acts=(Fail(EngineError("out of memory")),), early=True))
        rig = Rig([Script(headers=EVENT_STREAM, body=begun("anthropic"))], broken)
        return await ask(rig, "anthropic"), rig

    client, rig = run(story())
    assert b"event: error" in client.got
    assert b"out of memory" in client.got
    assert rig.records[-1].ended == "broken"


def test_an_engine_that_breaks_as_well_says_so() -> None:
    """What both have said stays, and the end is an error."""

    async def story() -> tuple[Client, Rig]:
        acts = (Say(" and then"), Fail(EngineError("the worker died")))
        rig = Rig(
            [Script(headers=EVENT_STREAM, body=begun("anthropic"))], ScriptedEngine(Play(acts=acts))
        )
        return await ask(rig, "anthropic"), rig

    client, rig = run(story())
    assert b"and then" in client.got
    assert client.got.rstrip().rpartition(b"\n\n")[2].startswith(b"event: error")
    assert rig.records[-1].ended == "broken"


@pytest.mark.parametrize("policy", ["error", "continue"])
def test_a_call_that_broke_off_is_the_operators_choice(policy: str) -> None:
    """By default the client is made to ask again; the call may also be completed here."""
    prologue = STREAMS["anthropic"][:2]

    async def story() -> tuple[Client, Rig]:
        rest = ScriptedEngine(Play(acts=(Say(' door"}}\n</tool_call>'),)))
        rig = Rig(
            [Script(headers=EVENT_STREAM, body=(*prologue, TOOL_CALL))],
            rest,
            rules=[Rule(splice_tool_call=policy)],  # type: ignore[arg-type]
        )
        return await ask(rig, "anthropic", tools=TOOLS), rig

    client, rig = run(story())
    if policy == "error":
        assert client.got.rstrip().rpartition(b"\n\n")[2].startswith(b"event: error")
        assert rig.engine.requests == []
    else:
        assert b'door\\"}' in client.got
        assert b'"stop_reason":"tool_use"' in client.got
        assert rig.records[-1].ended == "complete"


def test_a_rate_limit_in_mid_stream_is_the_upstreams_to_tell() -> None:
    """It is no outage, so nobody answers in its place."""
    event = ERRORS["anthropic"].replace(b"overloaded_error", b"rate_limit_error")

    async def story() -> tuple[Client, Rig]:
        rig = Rig([Script(headers=EVENT_STREAM, body=(*begun("anthropic"), event))])
        return await ask(rig, "anthropic"), rig

    client, rig = run(story())
    assert client.got.endswith(event)
    assert rig.engine.requests == []


def test_pings_alone_are_no_progress() -> None:
    """A stream that only keeps its connection alive is broken after two minutes."""
    ping = b'event: ping\ndata: {"type": "ping"}\n\n'
    beats = [beat for _ in range(100) for beat in (Wait(10.0), ping)]

    async def story() -> Rig:
        rig = Rig([Script(headers=EVENT_STREAM, body=(*begun("anthropic"), *beats))])
        await ask(rig, "anthropic")
        return rig

    record = run(story()).records[-1]
    assert record.ended == "complete"
    assert 120 < record.duration_s <= 140
    assert record.provenance.attempts[-1].outcome.reason == "stream-stall"
