"""Has the machine measured, when nobody needs it: a process of its own, killed when somebody does.

- It begins when the engine has been idle for a while and the operator's rules let it (the cloud is
  well: nobody is about to need the engine).
- A request kills it at once. What was measured is kept; it goes on from there the next time.
- On a machine that is busy with something else nothing true can be measured: it is tried again
  later, and less and less often.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from fallback.local.report import CalibrationOrder, CalibrationReport
from fallback.local.settings import WorkerSettings

_log = logging.getLogger("fallback.calibration")

CALIBRATION_COMMAND = (sys.executable, "-P", "-m", "fallback.local.worker.calibration")

_LOOK_S = 1.0
_IDLE_LOOKS = 10
_AGAIN_FIRST_S = 120.0
_AGAIN_MAX_S = 3600.0
_MOST_FAILURES = 3


class Calibrator:
    """`idle` says whether it may run now, `done` hears that there is something better to use.
    `sleep` takes seconds and is for the waits in between."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        environment: Mapping[str, str],
        idle: Callable[[], bool],
        done: Callable[[], None],
        command: Sequence[str] = CALIBRATION_COMMAND,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._idle = idle
        self._done = done
        self._command = command
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._interrupted = False

    def __repr__(self) -> str:
        return f"<Calibrator wanted={self._task is not None} running={self.running}>"

    @property
    def running(self) -> bool:
        """Whether the machine is being measured now: what else computes would disturb it."""
        return self._process is not None

    def want(self) -> None:
        """The model was never measured here; do so when it disturbs nobody."""
        if self._task is None:
            self._task = asyncio.create_task(self._calibrate())

    def interrupt(self) -> None:
        """The machine is needed: end at once. It goes on by itself later."""
        if self._process is not None:
            self._interrupted = True
            _kill(self._process)

    async def stop(self) -> None:
        """End it for good; there is no process left afterwards."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _calibrate(self) -> None:
        failures = disturbances = 0
        while failures < _MOST_FAILURES:
            await self._until_idle()
            report = await self._attempt()
            if self._interrupted:
                continue
            if report is None:
                failures += 1
            elif report.end == "impossible":
                _log.warning("this machine cannot be measured: %s", report.detail)
                return
            elif report.end == "done":
                _log.info("this machine was measured: %s", report.detail)
                self._done()
                return
            await self._sleep(again_s(disturbances))
            disturbances += 1
        _log.warning("measuring this machine failed %d times; it is not tried again", failures)

    async def _until_idle(self) -> None:
        looks = 0
        while looks < _IDLE_LOOKS:
            await self._sleep(_LOOK_S)
            looks = looks + 1 if self._idle() else 0

    async def _attempt(self) -> CalibrationReport | None:
        """One process's life; its report, or None if it ended without one."""
        self._interrupted = False
        process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=DEVNULL,
            env=self._environment,
            start_new_session=True,
        )
        self._process = process
        try:
            return await self._converse(process)
        finally:
            _kill(process)
            await process.wait()
            self._process = None

    async def _converse(self, process: Process) -> CalibrationReport | None:
        assert process.stdin is not None
        assert process.stdout is not None
        order = CalibrationOrder(settings=self._settings)
        with contextlib.suppress(ConnectionError):
            process.stdin.write(msgspec.json.encode(order) + b"\n")
            await process.stdin.drain()
        # The pipe stays open: its end would tell the process that we are gone.
        line = await process.stdout.readline()
        try:
            return msgspec.json.decode(line, type=CalibrationReport)
        except msgspec.DecodeError:
            return None


def again_s(disturbances: int) -> float:
    """How long to wait before the next attempt, after so many that were disturbed."""
    return float(min(_AGAIN_MAX_S, _AGAIN_FIRST_S * 2 ** min(disturbances, 16)))


def _kill(process: Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
