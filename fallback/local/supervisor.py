"""Keeps one worker alive: spawn, wait for the model, watch, reap, wait, spawn again.

What can go wrong, and what is done about it:
- The worker dies or is given up (see `pulse.py`): another one, after 0.1 s, doubling to 30 s;
  a minute of service forgives all.
- The model file is bad: `failed`, with the reason. Another try when the file changes, or after
  five minutes; a bad file does not get better by being hashed again and again.
- This process is killed: the worker reads the end of its stdin and exits at once.

A worker that nobody needed for `idle_unload_s` is ended (`idle.py`) and started again by whoever
asks; one that can be replaced by a better is replaced when it has nothing to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import msgspec

from fallback.core.errors import EngineNotReady
from fallback.core.ports import EngineStatus
from fallback.local import wire
from fallback.local.idle import Idleness, Rest
from fallback.local.link import LoadFailed, WorkerLink, WorkerLost
from fallback.local.pulse import Pulse
from fallback.local.settings import WorkerSettings

# -P: what lies in the current directory must not pass for this package.
WORKER_COMMAND = (sys.executable, "-P", "-m", "fallback.local.worker")

_BACKOFF_FIRST_S = 0.1
_BACKOFF_MAX_S = 30.0
# A worker that has served so long was not lost to what made it start. One that dies of a request
# does so sooner, and whoever asks for too much is told by `resume.MAX_RESUMES`.
_HEALTHY_S = 15.0
_PATIENCE = 3
_FILE_POLL_S = 1.0
_FILE_POLLS = 300

_ENVIRONMENT_KEPT = frozenset(
    (
        *("PATH", "HOME", "LANG", "TMPDIR", "TEMP", "TMP", "SYSTEMROOT"),
        *("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH"),
    )
)
_ENVIRONMENT_KEPT_PREFIXES = ("LC_", "OMP_", "GOMP_", "GGML_")


class _End(msgspec.Struct, frozen=True, kw_only=True):
    """How one worker's life went, and how long it served; `refused`: its model cannot be loaded;
    `rest`: it was ended on purpose."""

    reason: str
    rest: Rest | None = None
    bad_file: bool = False
    refused: bool = False
    served_s: float = 0.0


class Supervisor:
    """One worker at a time. `sleep` takes seconds and is for the waits between two workers;
    `on_change` hears of every change of state, `on_ready` of every loaded model."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        environment: Mapping[str, str],
        command: Sequence[str] = WORKER_COMMAND,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        on_change: Callable[[EngineStatus], None] = lambda status: None,
        on_ready: Callable[[wire.Ready], None] = lambda ready: None,
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._on_ready = on_ready
        self._environment = worker_environment(environment)
        self._command = command
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._link: WorkerLink | None = None
        self._pulse: Pulse | None = None
        self._idleness = Idleness(settings.idle_unload_s, now=0.0)
        self._wanted = asyncio.Event()
        self._status = EngineStatus(state="idle", detail="the model is loaded when it is needed")
        self._changed = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Supervisor {self._status.state} link={self._link}>"

    def start(self) -> None:
        """Begin, or go on if the worker was ended for want of work; returns at once."""
        self._wanted.set()
        if self._task is None:
            self._become("starting", "the model is being loaded")
            self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """End the worker and wait until it is gone."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._become("off", "stopped")

    def renew(self) -> None:
        """Replace the worker once it has nothing to do; what it would be is better."""
        self._idleness.renew()

    def status(self) -> EngineStatus:
        """The state now, with the gauges of the last heartbeat."""
        if self._pulse is None:
            return self._status
        gauges = self._pulse.gauges
        return msgspec.structs.replace(self._status, active=gauges.active, queued=gauges.queued)

    async def link(self, timeout_s: float) -> WorkerLink:
        """A worker with a loaded model, as soon as there is one.

        Raises `EngineNotReady`: at once where waiting is of no use, else after `timeout_s`.
        """
        self._wanted.set()
        self._idleness.worked(asyncio.get_running_loop().time())
        try:
            async with asyncio.timeout(timeout_s):
                while (link := self._link) is None or not link.alive:
                    if self._status.state in ("failed", "off"):
                        raise EngineNotReady(f"the local model: {self._status.detail}")
                    await self._changed.wait()
        except TimeoutError:
            raise EngineNotReady(
                f"the local model is not ready after {timeout_s:g} s: {self._status.detail}",
                retry_after_s=5,
            ) from None
        return link

    async def _supervise(self) -> None:
        failures = 0
        while True:
            stamp = _file_stamp(self._settings.model_path)
            end = await self._live()
            if end.rest is not None:
                await self._rest(end)
                continue
            if end.bad_file:
                self._become("failed", end.reason)
                await self._file_change(stamp)
            else:
                failures = 0 if end.served_s >= _HEALTHY_S else failures
                self._become(*_aftermath(end, failures))
                await self._sleep(backoff_s(failures))
                failures += 1
            restarts = self._status.restarts + 1
            self._status = msgspec.structs.replace(self._status, restarts=restarts)

    async def _rest(self, end: _End) -> None:
        """The worker was ended on purpose: go on at once, or when someone asks."""
        if end.rest == "idle":
            self._become("idle", end.reason)
            await self._wanted.wait()
        self._become("starting", "the model is being loaded again")

    async def _live(self) -> _End:
        """One worker's life, from spawn to reaped."""
        self._pulse = None
        loop = asyncio.get_running_loop()
        try:
            link = await WorkerLink.spawn(
                self._command, self._environment, self._settings, self._on_pong
            )
        except OSError as error:
            return _End(reason=f"the worker cannot be started: {error}")
        try:
            self._serve(link, await link.loaded(self._settings.load_timeout_s))
            ready_at = loop.time()
            end = await self._watch(link)
            return msgspec.structs.replace(end, served_s=loop.time() - ready_at)
        except LoadFailed as failure:
            bad_file = failure.kind == "model_file"
            return _End(reason=str(failure), bad_file=bad_file, refused=True)
        except WorkerLost as lost:
            return _End(reason=f"the worker died while it loaded the model: {lost}")
        except TimeoutError:
            return _End(reason=f"no model after {self._settings.load_timeout_s:g} s of loading")
        finally:
            self._link = None
            await link.close(self._settings.stop_timeout_s)

    def _serve(self, link: WorkerLink, ready: wire.Ready) -> None:
        self._link = link
        self._become("ready", "", link, ready)
        self._on_ready(ready)

    async def _watch(self, link: WorkerLink) -> _End:
        """Keep the pulse until the worker is gone, or may go."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        self._pulse = pulse = Pulse(
            misses_allowed=settings.heartbeat_misses, stall_s=settings.stall_s, now=loop.time()
        )
        self._idleness = Idleness(settings.idle_unload_s, loop.time())
        ended = asyncio.ensure_future(link.ended())
        while not ended.done():
            busy = link.busy or pulse.gauges.active + pulse.gauges.queued > 0
            if rest := self._idleness.rest(busy, loop.time()):
                self._wanted.clear()  # whoever asks from here on wants the next worker
                return _End(reason=f"nobody asked for {settings.idle_unload_s:g} s", rest=rest)
            if why := pulse.ping(loop.time()):
                link.give_up(why)
                break
            link.ping()
            await asyncio.wait([ended], timeout=settings.heartbeat_s)
        return _End(reason=f"the worker was lost: {await ended}")

    def _on_pong(self, pong: wire.Pong) -> None:
        if self._pulse is not None:
            self._pulse.pong(pong, asyncio.get_running_loop().time())

    async def _file_change(self, stamp: tuple[int, ...] | None) -> None:
        for _ in range(_FILE_POLLS):
            await self._sleep(_FILE_POLL_S)
            if _file_stamp(self._settings.model_path) != stamp:
                return

    def _become(
        self,
        state: Literal["starting", "ready", "failed", "off", "idle"],
        detail: str,
        link: WorkerLink | None = None,
        ready: wire.Ready | None = None,
    ) -> None:
        status = EngineStatus(state=state, detail=detail, restarts=self._status.restarts)
        if link is not None and ready is not None:
            status = msgspec.structs.replace(
                status,
                model=ready.model,
                pid=link.pid,
                load_s=ready.load_s,
                tool_format=ready.tool_format,
                tuning=ready.tuning,
            )
        self._status = status
        self._changed.set()
        self._changed = asyncio.Event()
        self._on_change(self._status)


def backoff_s(failures: int) -> float:
    """How long to wait before the next worker, after `failures` in a row."""
    return float(min(_BACKOFF_MAX_S, _BACKOFF_FIRST_S * 2 ** min(failures, 16)))


def worker_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """What of the environment a worker needs: it sees no key, whatever the variable's name."""
    return {
        name: value
        for name, value in environment.items()
        if name in _ENVIRONMENT_KEPT or name.startswith(_ENVIRONMENT_KEPT_PREFIXES)
    }


def _aftermath(end: _End, failures: int) -> tuple[Literal["starting", "failed"], str]:
    """A lost worker is replaced and requests wait for the next; after `_PATIENCE` in a row that
    did not serve long, or one that could not load its model, they are told at once, though new
    ones are still being tried."""
    if failures >= _PATIENCE or end.refused:
        return "failed", end.reason
    return "starting", f"{end.reason}; another worker is being started"


def _file_stamp(path: str) -> tuple[int, ...] | None:
    try:
        stat = os.stat(path)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
