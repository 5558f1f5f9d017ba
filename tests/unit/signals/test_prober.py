"""Free probes of an unwell upstream."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from virtual_time import run

from fallback.core.health import Board, Evidence, HealthSettings, HealthView, State
from fallback.signals.prober import Prober, ProbeTarget, keyless_models

FAILED = Evidence(source="request", weight=3.0, summary="unreachable-refused")
DEAD = Evidence(source="probe", weight=3.0, summary="probe failed")
ALIVE = Evidence(source="probe", weight=0.0, alive=True, summary="probe answered with 401")
TARGET = ProbeTarget(base_url="http://cloud.test", family="openai")


class Scene:
    """A board, its prober, and when the probes came (seconds of the loop's time)."""

    def __init__(self, answers: list[Evidence]) -> None:
        self.asked: list[float] = []
        self._answers = answers
        self.now = asyncio.get_running_loop().time
        self.prober = Prober({"cloud": TARGET}, self._probe, clock=self.now, jitter=lambda: 0.0)
        self.board = Board(["cloud"], HealthSettings(), now=0.0, on_change=self._changed)

    def _changed(self, upstream: str, view: HealthView) -> None:
        self.prober.notice(self.board, upstream, view)

    async def _probe(self, target: ProbeTarget) -> Evidence:
        self.asked.append(self.now())
        return self._answers.pop(0)

    def fail(self) -> None:
        self.board.record("cloud", FAILED, self.now())


def test_the_first_strong_evidence_is_looked_into_at_once() -> None:
    """One refused request and two dead probes are an outage, before anybody asks again."""

    async def story() -> None:
        scene = Scene([DEAD, DEAD, ALIVE])
        scene.fail()
        await asyncio.sleep(1.0)
        assert scene.asked == [0.0]
        await asyncio.sleep(5.0)
        assert scene.board["cloud"].state is State.DOWN

    run(story())


def test_pauses_grow_while_it_stays_down() -> None:
    """Each failed probe doubles the next pause, up to the cap."""

    async def story() -> list[float]:
        scene = Scene([DEAD] * 12)
        for _ in range(3):
            scene.fail()
        await asyncio.sleep(1000.0)
        await scene.prober.stop()
        return scene.asked

    asked = run(story())
    pauses = [b - a for a, b in itertools.pairwise(asked)]
    assert pauses[:4] == [5.0, 10.0, 20.0, 40.0]
    assert max(pauses) <= 150.0


def test_a_sign_of_life_ends_the_asking() -> None:
    """From there on it is a real request's turn."""

    async def story() -> None:
        scene = Scene([DEAD, ALIVE])
        for _ in range(3):
            scene.fail()
        await asyncio.sleep(1000.0)
        assert len(scene.asked) == 2
        assert scene.board["cloud"].state is State.RECOVERING

    run(story())


def test_a_probe_that_raises_is_not_the_last(caplog: pytest.LogCaptureFixture) -> None:
    """Without probes an upstream that is down would stay so."""

    async def story() -> State:
        scene = Scene([ALIVE])
        probe = scene._probe

        async def fails_once(target: ProbeTarget) -> Evidence:
            scene.prober._probe = probe
            raise KeyError("a bug")

        scene.prober._probe = fails_once
        for _ in range(3):
            scene.fail()
        await asyncio.sleep(1000.0)
        return scene.board["cloud"].state

    assert run(story()) is State.RECOVERING
    assert "a bug" in caplog.text


def test_nothing_is_asked_of_a_healthy_upstream() -> None:
    """Nor of one that only had a weak moment."""

    async def story() -> None:
        scene = Scene([])
        weak = Evidence(source="request", weight=1.0, summary="upstream-504")
        scene.board.record("cloud", weak, 0.0)
        await asyncio.sleep(1000.0)
        assert scene.asked == []

    run(story())


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[tuple[ProbeTarget, list[bytes]]]:
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield ProbeTarget(base_url=f"http://127.0.0.1:{port}", family="anthropic"), heard
    finally:
        server.close()


def http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


@pytest.mark.parametrize(
    ("answer", "alive", "weight"),
    [
        (http("401 Unauthorized", b'{"error": {}}'), True, 0.0),
        (http("200 OK", b'{"data": []}'), True, 0.0),
        (http("200 OK", b"<html>hotel</html>"), False, 3.0),
        (http("503 Service Unavailable", b"{}"), False, 2.0),
        (b"nonsense\r\n\r\n", False, 3.0),
        (http("200 OK", b"[" * 100_000 + b"]" * 100_000), False, 3.0),
        (http("200 OK", b"[" + b" " * 2_000_000 + b"]"), False, 3.0),
    ],
    ids=["keyless", "open", "captive-portal", "edge-error", "not-http", "deep", "endless"],
)
async def test_what_an_edge_answers(answer: bytes, alive: bool, weight: float) -> None:
    """Only an authentic answer of the API's is a sign of life, and a refused key is one."""
    async with answering(answer) as (target, heard):
        evidence = await keyless_models(target)
    assert (evidence.alive, evidence.weight) == (alive, weight)
    assert heard[0].startswith(b"GET /v1/models HTTP/1.1\r\n")
    assert b"anthropic-version" in heard[0]
    assert b"authorization" not in heard[0].lower()


async def test_a_closed_port_is_evidence() -> None:
    """The probe never raises."""
    async with answering(b"") as (target, _):
        pass
    evidence = await keyless_models(target)
    assert (evidence.alive, evidence.weight) == (False, 3.0)
