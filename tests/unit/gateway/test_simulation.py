"""A seeded simulation of the whole gateway: what must hold, holds in every history.

A failure prints its seed; `pytest -k 'seed and 17'` replays it.
"""

import asyncio
import functools
import json
import random
from collections.abc import Callable

import pytest
from rig import PATHS, Client, Rig, body
from streams import ERRORS, EVENT_STREAM, PROLOGUES, STREAMS
from virtual_time import run

from fallback.core.errors import EngineError
from fallback.core.health import Evidence, upstream_scope
from fallback.core.outcome import Failure
from fallback.local.mock import Fail, Say, ScriptedEngine
from fallback.local.mock import Script as Play
from fallback.local.mock import Wait as Hold
from fallback.upstream.mock import Beat, Fault, Script, SeenRequest, Wait

JSON = ((b"content-type", b"application/json"),)
WHOLE = {"anthropic": b'{"type": "message"}', "openai-chat": b"{}", "openai-responses": b"{}"}
ENDS = {
    "anthropic": (b"message_stop", b"event: error"),
    "openai-chat": (b"[DONE]", b'"error"'),
    "openai-responses": (b"response.completed", b"response.incomplete", b"failed", b"error"),
}


def cloud(rng: random.Random, sick: Callable[[], bool]) -> Callable[[SeenRequest], Script]:
    def answer(request: SeenRequest) -> Script:
        dialect = next(name for name, path in PATHS.items() if path == request.target)
        stream = json.loads(request.body)["stream"]
        script = _sick(rng, dialect, stream=stream) if sick() else None
        return script or _well(rng, dialect, stream=stream)

    return answer


def _well(rng: random.Random, dialect: str, *, stream: bool) -> Script:
    pause = Wait(rng.expovariate(2.0))
    if not stream:
        return Script(before=(pause,), headers=JSON, body=(WHOLE[dialect],))
    beats: list[Beat] = []
    for event in STREAMS[dialect]:
        cut = rng.randrange(1, len(event))
        beats += [event[:cut], Wait(rng.expovariate(10.0)), event[cut:]]
    return Script(before=(pause,), headers=EVENT_STREAM, body=tuple(beats))


def _sick(rng: random.Random, dialect: str, *, stream: bool) -> Script | None:
    some = STREAMS[dialect][: rng.randrange(len(STREAMS[dialect]))]
    fault = Fault(rng.choice([Failure.RESET, Failure.TRUNCATED]))
    whole: list[Script | None] = [
        None,
        Script(before=(Fault(Failure.REFUSED, sent=False),)),
        Script(before=(Wait(1e6),)),
        Script(status=529, headers=JSON, body=(b"{}",)),
        Script(status=500, headers=JSON, body=(b"{}",)),
        Script(headers=((b"content-type", b"text/html"),), body=(b"<html>",)),
        Script(headers=JSON, body=(b"{", fault)),
    ]
    streams: list[Script | None] = [
        Script(headers=EVENT_STREAM, body=(*some, fault)),
        Script(headers=EVENT_STREAM, body=(*some, ERRORS[dialect])),
        Script(headers=EVENT_STREAM, body=(*some, Wait(1e6))),
        Script(headers=EVENT_STREAM, body=some),
    ]
    return rng.choice(whole + streams if stream else whole)


def engine(rng: random.Random) -> ScriptedEngine:
    plays = []
    for _ in range(50):
        acts = [
            Say(rng.choice(["a", "Hello", " there.", "\u00e9"])) for _ in range(rng.randrange(5))
        ]
        seconds = rng.expovariate(0.2)
        hold = Hold(functools.partial(asyncio.sleep, seconds))
        end = [Fail(EngineError("scripted"))] if rng.random() < 0.1 else []
        plays.append(Play(acts=(hold, *acts, *end)))
    return ScriptedEngine(*plays)


async def one_request(
    rng: random.Random, rig: Rig, clients: list[tuple[str, bool, Client]]
) -> None:
    await asyncio.sleep(rng.uniform(0, 600))
    dialect, stream = rng.choice(list(PATHS)), rng.random() < 0.7
    client = Client(PATHS[dialect], body(dialect, stream=stream))
    task = asyncio.ensure_future(rig.ask(client))
    if rng.random() < 0.15:
        await asyncio.sleep(rng.expovariate(1.0))
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        task.result()
        clients.append((dialect, stream, client))


async def probes(rig: Rig) -> None:
    while True:
        await asyncio.sleep(20.0)
        for name in ("anthropic", "openai"):
            alive = Evidence(
                scope=upstream_scope(name), source="probe", weight=0.0, alive=True, summary="401"
            )
            rig.board.record(alive, asyncio.get_running_loop().time())


async def history(seed: int) -> tuple[Rig, list[tuple[str, bool, Client]]]:
    rng = random.Random(seed)
    now = asyncio.get_running_loop().time
    begins = rng.uniform(0, 300)
    rig = Rig(cloud(rng, lambda: begins < now() < begins + 300), engine(rng))
    clients: list[tuple[str, bool, Client]] = []
    prober = asyncio.ensure_future(probes(rig))
    await asyncio.gather(*(one_request(rng, rig, clients) for _ in range(80)))
    prober.cancel()
    return rig, clients


@pytest.mark.parametrize("seed", range(40))
def test_what_must_hold_holds(seed: int) -> None:
    """Every request gets exactly one well-formed answer with true provenance; nothing leaks."""
    rig, clients = run(history(seed))
    for dialect, stream, client in clients:
        check(dialect, stream, client)
    assert rig.transport.open_responses == 0
    assert len(rig.engine.closed) == len(rig.engine.requests)
    assert len(rig.records) == 80
    assert len(rig.transport.seen) <= 80, "at most one attempt a request"


def check(dialect: str, stream: bool, client: Client) -> None:
    assert client.finishes == 1
    assert client.status is not None
    tier = client.tier
    assert tier in ("cloud", "local", "none")
    if client.status != 200 or not stream:
        answer = json.loads(client.got)
        assert ("provenance" in answer) == (tier != "cloud")
        return
    assert client.got.endswith(b"\n\n")
    last = client.got.rstrip().rsplit(b"\n\n", 1)[-1]
    assert any(end in last for end in ENDS[dialect]), last
    if tier == "cloud":
        assert client.got.startswith(b"".join(STREAMS[dialect][: PROLOGUES[dialect]]))
    else:
        assert b"scripted" in client.got
