"""Supervisor, link and engine against a fake worker: a real process over the real pipes."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest, EngineBusy, EngineError, EngineNotReady
from fallback.core.ports import EngineEvent, GenerateRequest, GenerationFinished, Piece
from fallback.local import wire
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings
from fallback.local.supervisor import backoff_s, worker_environment

FAKE = Path(__file__).with_name("fake_worker.py")
CONVERSATION = Conversation(model="m")
REQUEST = GenerateRequest(
    id="r", conversation=CONVERSATION, max_tokens=20, prompt_budget_tokens=100
)
SETTINGS = WorkerSettings(model_path="model.gguf", model_name="fake", heartbeat_s=0.01)


class Waits:
    """A `sleep` that the test lets go on: `asked` has the seconds of each wait."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[float] = asyncio.Queue()
        self._go = asyncio.Semaphore(0)

    async def __call__(self, seconds: float) -> None:
        self.asked.put_nowait(seconds)
        await self._go.acquire()

    async def one(self) -> float:
        seconds = await self.asked.get()
        self._go.release()
        return seconds


async def no_wait(_seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def running(
    behaviour: str,
    tmp_path: Path,
    *,
    settings: WorkerSettings = SETTINGS,
    sleep: Callable[[float], Awaitable[object]] = no_wait,
) -> AsyncIterator[LocalEngine]:
    command = (sys.executable, str(FAKE), behaviour, str(tmp_path / "lives"))
    measure = (sys.executable, str(FAKE.with_name("fake_calibration.py")), "good")
    engine = LocalEngine(
        settings,
        environment=os.environ,
        command=command,
        calibration_command=(*measure, str(tmp_path / "calibrations")),
        sleep=sleep,
    )
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


async def collect(engine: LocalEngine) -> list[EngineEvent]:
    return [event async for event in engine.generate(REQUEST)]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


async def test_answer(tmp_path: Path) -> None:
    """A worker's answer comes through whole, though the worker also prints to its stdout."""
    async with running("good", tmp_path) as engine:
        assert (await engine.ready(20)).name == "fake"
        events = await collect(engine)
        assert text_of(events) == "one two three four five"
        assert events[-1] == GenerationFinished(reason="end", input_tokens=3, output_tokens=5)
        assert await engine.count(CONVERSATION) == 0
        assert engine.status().load_s == 0.5


async def test_start_and_stop(tmp_path: Path) -> None:
    """Starting returns at once; stopping leaves no process behind, not even a zombie."""
    async with running("good", tmp_path) as engine:
        assert engine.status().state == "starting"
        await engine.ready(20)
        pid = engine.status().pid
        assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert engine.status().state == "off"
    with pytest.raises(EngineNotReady, match="stopped"):
        await engine.ready(20)


async def test_crash_in_mid_answer(tmp_path: Path) -> None:
    """A worker killed in mid-answer: the next one goes on, and the answer is whole."""
    async with running("crash-once", tmp_path) as engine:
        events = await collect(engine)
        assert text_of(events) == "one two three four five"
        assert events[-1] == GenerationFinished(reason="end", input_tokens=3, output_tokens=5)
        assert engine.status().restarts == 1


async def test_crash_again_and_again(tmp_path: Path) -> None:
    """A request that three workers die of is an error that tells how the last one ended."""
    async with running("crash-always", tmp_path) as engine:
        with pytest.raises(EngineError, match=r"failed 3 times.*SIGKILL"):
            await collect(engine)


async def test_many_crash_together(tmp_path: Path) -> None:
    """All answers in progress survive the worker's death."""
    async with running("crash-once", tmp_path) as engine:
        answers = await asyncio.gather(*(collect(engine) for _ in range(5)))
        assert {text_of(answer) for answer in answers} == {"one two three four five"}


async def test_closing_cancels(tmp_path: Path) -> None:
    """Closing the iterator tells the worker at once."""
    async with running("silent", tmp_path) as engine:
        async with aclosing(engine.generate(REQUEST)) as events:
            await anext(events)
        assert await engine.count(CONVERSATION) == 1


async def warm(engine: LocalEngine, body: bytes = b"\x00body") -> wire.Warmed:
    return await engine.warm("anthropic", body, max_tokens=20, prompt_budget_tokens=None)


async def test_warm(tmp_path: Path) -> None:
    """A request goes to the worker as it came, whatever bytes it is, and keeps the pace it was
    told."""
    async with running("good", tmp_path) as engine:
        await engine.pace(0.5)
        warmed = await warm(engine)
        assert (warmed.input_tokens, warmed.prefilled_tokens, warmed.kv_bytes) == (5, 5, 250)


async def test_warm_is_cancelled(tmp_path: Path) -> None:
    """Whoever warms no longer tells the worker at once."""
    async with running("silent", tmp_path) as engine:
        await engine.ready(20)
        warming = asyncio.ensure_future(warm(engine))
        await asyncio.sleep(0)
        warming.cancel()
        await asyncio.wait({warming})
        assert await engine.count(CONVERSATION) == 1


async def test_a_worker_lost_over_warming(tmp_path: Path) -> None:
    """It is told as an engine that is not there, and the next worker is asked afresh."""
    async with running("crash-once", tmp_path) as engine:
        with pytest.raises(EngineNotReady, match="SIGKILL"):
            await warm(engine)
        assert (await warm(engine)).input_tokens == 5


@pytest.mark.parametrize(
    ("kind", "error"), [("bad_request", BadRequest), ("busy", EngineBusy), ("failed", EngineError)]
)
async def test_warm_is_refused(tmp_path: Path, kind: str, error: type[Exception]) -> None:
    """The worker's reasons come through as what they are."""
    async with running(kind, tmp_path) as engine:
        with pytest.raises(error, match=f"is {kind}"):
            await warm(engine)


async def test_loaded_when_it_is_needed(tmp_path: Path) -> None:
    """An engine that nobody started loads the model for the first request, and not once it was
    stopped."""
    command = (sys.executable, str(FAKE), "good", str(tmp_path / "lives"))
    engine = LocalEngine(SETTINGS, environment=os.environ, command=command, sleep=no_wait)
    try:
        assert engine.status().state == "idle"
        assert (await engine.ready(20)).name == "fake"
    finally:
        await engine.stop()
    with pytest.raises(EngineNotReady, match="stopped"):
        await collect(engine)


async def test_it_tells_whether_it_is_generating(tmp_path: Path) -> None:
    """From the first question for an answer to its end, or to the leaving of who asked."""
    async with running("silent", tmp_path) as engine:
        seen = [engine.generating]
        async with aclosing(engine.generate(REQUEST)) as events:
            await anext(events)
            seen.append(engine.generating)
        assert [*seen, engine.generating] == [False, True, False]


async def test_cancelled_task_cancels(tmp_path: Path) -> None:
    """A consumer that is cancelled while it waits for text tells the worker at once."""
    async with running("silent", tmp_path) as engine:
        events = engine.generate(REQUEST)
        await anext(events)
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await engine.count(CONVERSATION) == 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [("busy", EngineBusy), ("bad_request", BadRequest), ("failed", EngineError)],
)
async def test_errors(tmp_path: Path, kind: str, error: type[Exception]) -> None:
    """The worker's refusal is the exception that says whose fault it is."""
    async with running(kind, tmp_path) as engine:
        with pytest.raises(error, match=f"is {kind}"):
            await collect(engine)


async def test_unsendable(tmp_path: Path) -> None:
    """A request that cannot be put in a frame is the client's mistake; the worker lives."""
    async with running("good", tmp_path) as engine:
        broken = msgspec.structs.replace(REQUEST, prefix="\ud800")
        with pytest.raises(BadRequest, match="surrogates"):
            _ = [event async for event in engine.generate(broken)]
        assert text_of(await collect(engine)) == "one two three four five"
        assert engine.status().restarts == 0


async def test_bad_model_file(tmp_path: Path) -> None:
    """A bad model file fails with its reason, and is tried again when the file changes."""
    waits = Waits()
    model = tmp_path / "model.gguf"
    settings = msgspec.structs.replace(SETTINGS, model_path=str(model))
    async with running("bad-file", tmp_path, settings=settings, sleep=waits) as engine:
        assert [await waits.one() for _ in range(3)] == [1.0, 1.0, 1.0]
        assert engine.status().state == "failed"
        with pytest.raises(EngineNotReady, match=r"model\.gguf is corrupt"):
            await engine.ready(20)
        assert (tmp_path / "lives").stat().st_size == 1
        model.write_bytes(b"another")
        while (tmp_path / "lives").stat().st_size == 1:
            await waits.one()
        assert engine.status().restarts == 1


async def test_native_abort_in_the_load(tmp_path: Path) -> None:
    """Workers that keep aborting in the load fail with their last words, and go on being tried."""
    waits = Waits()
    async with running("assert", tmp_path, sleep=waits) as engine:
        assert [await waits.one() for _ in range(3)] == [0.1, 0.2, 0.4]
        assert await waits.asked.get() == 0.8
        status = engine.status()
        assert status.state == "failed"
        assert "SIGABRT" in status.detail
        assert "GGML_ASSERT(is_full) failed" in status.detail


async def test_recovers(tmp_path: Path) -> None:
    """A worker that died once in the load is followed by one that serves whoever waited."""
    waits = Waits()
    async with running("dies-first", tmp_path, sleep=waits) as engine:
        waiting = asyncio.ensure_future(engine.ready(20))
        assert await waits.one() == 0.1
        assert "exited with status 3" in engine.status().detail
        assert (await waiting).name == "fake"


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("deaf", "left 2 heartbeats unanswered"),
        ("stuck", "made no progress"),
        ("garbage", "does not speak the protocol"),
    ],
)
async def test_given_up(tmp_path: Path, behaviour: str, reason: str) -> None:
    """A worker that is deaf, stuck or talks nonsense is killed, replaced, and the reason kept."""
    waits = Waits()
    settings = msgspec.structs.replace(SETTINGS, heartbeat_misses=2, stall_s=0.05)
    async with running(behaviour, tmp_path, settings=settings, sleep=waits) as engine:
        assert await waits.asked.get() == 0.1
        assert engine.status().state == "starting"
        assert reason in engine.status().detail


async def test_idle_unload(tmp_path: Path) -> None:
    """A worker that nobody needs is ended without a failure, and loaded again for who asks."""
    settings = msgspec.structs.replace(SETTINGS, idle_unload_s=0.05)
    async with running("good", tmp_path, settings=settings) as engine:
        await engine.ready(20)
        pid = engine.status().pid
        await until_state(engine, "idle")
        assert "nobody asked for 0.05 s" in engine.status().detail
        assert pid is not None
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
        assert text_of(await collect(engine)) == "one two three four five"
        await until_state(engine, "idle")
        engine.start()
        await until_state(engine, "ready")
        assert (engine.status().restarts, (tmp_path / "lives").stat().st_size) == (0, 3)


async def test_busy_is_not_idle(tmp_path: Path) -> None:
    """A worker that is answering is not ended, however long that takes."""
    settings = msgspec.structs.replace(SETTINGS, idle_unload_s=0.02)
    async with running("silent", tmp_path, settings=settings) as engine:
        async with aclosing(engine.generate(REQUEST)) as events:
            await anext(events)
            await heartbeats(engine, 3)
            assert engine.status().state == "ready"
        await until_state(engine, "idle")


async def test_renewed_when_measured(tmp_path: Path) -> None:
    """Once the machine is measured, the worker is replaced when it has nothing to do; an answer
    in progress is not cut off for it."""
    async with running("wants-calibration", tmp_path) as engine:
        async with aclosing(engine.generate(REQUEST)) as events:
            await anext(events)
            first = engine.status().pid
            await heartbeats(engine, 3)
            assert engine.status().pid == first
        async with asyncio.timeout(20):
            while engine.status().pid in (first, None):  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert engine.status().restarts == 0


async def heartbeats(engine: LocalEngine, count: int) -> None:
    for _ in range(count):
        pulse = engine._supervisor._pulse
        assert pulse is not None
        before = pulse.gauges
        async with asyncio.timeout(20):
            while pulse.gauges is before:  # noqa: ASYNC110
                await asyncio.sleep(0.001)


async def until_state(engine: LocalEngine, state: str) -> None:
    async with asyncio.timeout(20):
        while engine.status().state != state:  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_impossible_command(tmp_path: Path) -> None:
    """A worker that cannot even be started is a failure with a reason."""
    waits = Waits()
    engine = LocalEngine(
        SETTINGS, environment={}, command=(str(tmp_path / "nothing"),), sleep=waits
    )
    engine.start()
    await waits.asked.get()
    assert "cannot be started" in engine.status().detail
    await engine.stop()


async def test_patience(tmp_path: Path) -> None:
    """Waiting for a model ends after the time given, with the reason."""
    async with running("good", tmp_path) as engine:
        with pytest.raises(EngineNotReady, match="not ready after 0 s: the model is being loaded"):
            await engine.ready(0)


def test_backoff() -> None:
    """Waits double from a tenth of a second up to half a minute."""
    assert [backoff_s(n) for n in (0, 1, 2, 8, 9, 1000)] == [0.1, 0.2, 0.4, 25.6, 30.0, 30.0]


def test_environment() -> None:
    """The worker sees no key of any name."""
    given = {"PATH": "/bin", "ANTHROPIC_API_KEY": "k", "MY_TOKEN": "k", "OMP_NUM_THREADS": "2"}
    assert worker_environment(given) == {
        "PATH": "/bin",
        "OMP_NUM_THREADS": "2",
    }


PARENT = f"""
import asyncio, os
from fallback.local import wire
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings

async def main():
    settings = WorkerSettings(model_path="m", model_name="fake")
    command = ({sys.executable!r}, {str(FAKE)!r}, "good", os.devnull)
    engine = LocalEngine(settings, environment=os.environ, command=command)
    engine.start()
    await engine.ready(20)
    print(engine.status().pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfd is Linux's")
def test_no_orphan() -> None:
    """A worker does not outlive a parent that was killed."""
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        worker = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([worker], [], [], 20)
        os.close(worker)
    assert ended


LIGHT = """
import sys
import fallback.local.engine, fallback.local.mock
heavy = {"numpy", "jinja2", "llama_cpp", "llguidance"} & set(sys.modules)
assert not heavy, heavy
"""


def test_parent_stays_light() -> None:
    """The proxy's process imports nothing of the model's world."""
    subprocess.run([sys.executable, "-c", LIGHT], check=True)
