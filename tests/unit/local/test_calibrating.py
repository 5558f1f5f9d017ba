"""When the machine is measured, and what ends that: against a process that measures nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fallback.local.calibrating import Calibrator, again_s
from fallback.local.settings import WorkerSettings

FAKE = Path(__file__).with_name("fake_calibration.py")
SETTINGS = WorkerSettings(model_path="m", model_name="fake")


class Scene:
    """A calibrator, what it may do, what it did and how long it waited."""

    def __init__(self, behaviour: str, folder: Path) -> None:
        self.idle = True
        self.finished = asyncio.Event()
        self.waits: list[float] = []
        self.lives = folder / "lives"
        self.calibrator = Calibrator(
            SETTINGS,
            environment=os.environ,
            idle=lambda: self.idle,
            done=self.finished.set,
            command=(sys.executable, str(FAKE), behaviour, str(self.lives)),
            sleep=self.sleep,
        )

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        await asyncio.sleep(0)

    async def until_running(self) -> None:
        async with asyncio.timeout(20):
            while not self.calibrator.running or not self.count():  # noqa: ASYNC110
                await asyncio.sleep(0.001)

    def count(self) -> int:
        """How many processes have begun."""
        return self.lives.stat().st_size if self.lives.exists() else 0

    async def until_given_up(self) -> None:
        async with asyncio.timeout(20):
            assert self.calibrator._task is not None
            await self.calibrator._task


@asynccontextmanager
async def scene(behaviour: str, folder: Path) -> AsyncIterator[Scene]:
    found = Scene(behaviour, folder)
    try:
        yield found
    finally:
        await found.calibrator.stop()
        assert not found.calibrator.running


async def test_done(tmp_path: Path) -> None:
    """After ten looks that found nobody at work it runs, once, and what it found is used."""
    async with scene("good", tmp_path) as here:
        here.calibrator.want()
        here.calibrator.want()
        await asyncio.wait_for(here.finished.wait(), 20)
        assert here.waits == [1.0] * 10
        assert here.count() == 1


async def test_not_while_needed(tmp_path: Path) -> None:
    """It does not begin while the model is needed, nor right after."""
    async with scene("good", tmp_path) as here:
        here.idle = False
        here.calibrator.want()
        while len(here.waits) < 50:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert here.count() == 0
        here.idle = True
        await asyncio.wait_for(here.finished.wait(), 20)
        assert len(here.waits) >= 50 - 1 + 10


async def test_interrupted(tmp_path: Path) -> None:
    """A request ends it at once; it goes on when the model is not needed again."""
    async with scene("endless-once", tmp_path) as here:
        here.calibrator.want()
        await here.until_running()
        here.calibrator.interrupt()
        await asyncio.wait_for(here.finished.wait(), 20)
        assert here.count() == 2
        assert set(here.waits) == {1.0}


async def test_disturbed(tmp_path: Path) -> None:
    """Where something else keeps the machine busy it is tried again later."""
    async with scene("disturbed-once", tmp_path) as here:
        here.calibrator.want()
        await asyncio.wait_for(here.finished.wait(), 20)
        assert [wait for wait in here.waits if wait != 1.0] == [again_s(0)]


@pytest.mark.parametrize(("behaviour", "lives"), [("crash", 3), ("impossible", 1)])
async def test_given_up(tmp_path: Path, behaviour: str, lives: int) -> None:
    """What cannot be measured is given up, and the model is run as it was."""
    async with scene(behaviour, tmp_path) as here:
        here.calibrator.want()
        await here.until_given_up()
        assert here.count() == lives
        assert not here.finished.is_set()


async def test_stop(tmp_path: Path) -> None:
    """Stopping in the middle leaves no process behind."""
    async with scene("endless-once", tmp_path) as here:
        here.calibrator.want()
        await here.until_running()
        process = here.calibrator._process
        assert process is not None
        await here.calibrator.stop()
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)


def test_again() -> None:
    """The waits double from two minutes to an hour."""
    assert [again_s(n) for n in (0, 1, 4, 5, 1000)] == [120.0, 240.0, 1920.0, 3600.0, 3600.0]
