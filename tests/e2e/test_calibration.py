"""The machine is measured with the real model, and the engine runs as was found best."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import msgspec

from fallback.core.conversation import Conversation, Sampling, Text, Turn
from fallback.core.ports import GenerateRequest, GenerationFinished
from fallback.local.calibrating import CALIBRATION_COMMAND
from fallback.local.engine import LocalEngine
from fallback.local.report import CalibrationOrder, CalibrationReport
from fallback.local.settings import WorkerSettings

# Other tests keep the machine busy: here it is enough that it is measured, however well. One
# thing to choose, and a small context, keep it short.
PATIENT = """
import subprocess, sys, msgspec
from fallback.local.report import CalibrationOrder

order = msgspec.json.decode(sys.stdin.buffer.readline(), type=CalibrationOrder)
order = msgspec.structs.replace(order, quiet_share=0.0, give_way=False)
inner = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
inner.stdin.write(msgspec.json.encode(order) + b"\\n")
inner.stdin.flush()
inner.wait()
"""


def settings(model: Path, cache: Path) -> WorkerSettings:
    return WorkerSettings(
        model_path=str(model),
        model_name="smollm2",
        quantization="Q4_1",
        cache_dir=str(cache),
        context_tokens=1024,
        slots=2,
        threads=2,
        flash_attention=True,
        ubatch_tokens=256,
        calibrate="auto",
        requantize="auto",
        heartbeat_s=0.05,
        heartbeat_misses=1000,
    )


async def measure(settings: WorkerSettings) -> CalibrationReport:
    """Run the process as the proxy does, on a machine that may be busy."""
    process = await asyncio.create_subprocess_exec(
        *CALIBRATION_COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    order = CalibrationOrder(settings=settings, quiet_share=0.0, give_way=False)
    process.stdin.write(msgspec.json.encode(order) + b"\n")
    line = await process.stdout.readline()
    process.stdin.close()
    await process.wait()
    return msgspec.json.decode(line, type=CalibrationReport)


async def no_wait(_seconds: float) -> None:
    await asyncio.sleep(0.001)


async def test_measured_once(model_path: Path, tmp_path: Path) -> None:
    """While nobody needs it the machine is measured, the worker replaced by one that runs so,
    and the next start does not measure again; the provenance names the file that answers."""
    told = settings(model_path, tmp_path)
    command = (sys.executable, "-c", PATIENT, *CALIBRATION_COMMAND)
    engine = LocalEngine(told, environment=os.environ, calibration_command=command, sleep=no_wait)
    engine.start()
    try:
        before = await engine.ready(60)
        assert before.requantized_from is None
        assert engine.status().tuning.startswith("not measured: ")
        async with asyncio.timeout(120):
            while not engine.status().tuning.startswith("measured here: "):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        now = await engine.ready(60)
        if now.requantized_from is None:
            assert (now.sha256, now.quantization) == (before.sha256, "Q4_1")
        else:
            assert (now.requantized_from, now.quantization) == ("Q4_1", "Q4_0")
            assert now.sha256 != before.sha256
        assert engine.status().restarts == 0
        assert not engine.calibrating
        events = [event async for event in engine.generate(hello())]
        assert isinstance(events[-1], GenerationFinished)
        assert events[-1].output_tokens > 0
    finally:
        await engine.stop()
    report = await measure(told)
    assert report.end == "done"
    assert report.detail.count("flash_attention=on ubatch=256 threads=2/2") == 2
    assert "given" in report.detail
    assert "requantized" in report.detail


def hello() -> GenerateRequest:
    turn = Turn("user", (Text("Say hello."),))
    return GenerateRequest(
        id="r",
        conversation=Conversation(model="m", turns=(turn,), sampling=Sampling(temperature=0.0)),
        max_tokens=8,
    )
