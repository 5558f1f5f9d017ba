"""The local engine as the gateway sees it: the port `Engine` over a supervised worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager

import msgspec

from fallback.core.conversation import Conversation
from fallback.core.errors import (
    BadRequest,
    EngineBusy,
    EngineError,
    EngineNotReady,
    FallbackError,
)
from fallback.core.ports import EngineEvent, EngineStatus, GenerateRequest, ModelIdentity
from fallback.local import wire
from fallback.local.calibrating import CALIBRATION_COMMAND, Calibrator
from fallback.local.link import WorkerLink, WorkerLost
from fallback.local.resume import Resume
from fallback.local.settings import WorkerSettings
from fallback.local.supervisor import WORKER_COMMAND, Supervisor, worker_environment

_BUSY_RETRY_S = 5


class LocalEngine:
    """Inference in a worker process. `environment` is filtered before the worker sees it;
    `on_change` hears of every change of its state; `may_calibrate` says whether the cloud is
    well enough for the machine to be measured."""

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        environment: Mapping[str, str],
        command: Sequence[str] = WORKER_COMMAND,
        calibration_command: Sequence[str] = CALIBRATION_COMMAND,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        on_change: Callable[[EngineStatus], None] = lambda status: None,
        may_calibrate: Callable[[], bool] = lambda: True,
    ) -> None:
        self._settings = settings
        self._may_calibrate = may_calibrate
        self._generating = 0
        self._stopped = False
        self._supervisor = Supervisor(
            settings,
            environment=environment,
            command=command,
            sleep=sleep,
            on_change=on_change,
            on_ready=self._loaded,
        )
        self._calibrator = Calibrator(
            settings,
            environment=worker_environment(environment),
            idle=self._idle,
            done=self._supervisor.renew,
            command=calibration_command,
            sleep=sleep,
        )

    def __repr__(self) -> str:
        return f"<LocalEngine {self._settings.model_name} {self._supervisor.status().state}>"

    def start(self) -> None:
        """Begin to load the model, rather than when it is first needed; returns at once."""
        self._supervisor.start()

    async def stop(self) -> None:
        """End the worker; requests in progress fail with `EngineNotReady`."""
        self._stopped = True
        await self._calibrator.stop()
        await self._supervisor.stop()

    def status(self) -> EngineStatus:
        """The state now. `active` is as of the last heartbeat, who came since is `queued`."""
        status = self._supervisor.status()
        queued = max(status.queued, self._generating - status.active)
        return msgspec.structs.replace(status, queued=queued)

    async def ready(self, timeout_s: float) -> ModelIdentity:
        """Wait for a loaded model. Raises `EngineNotReady` with the reason."""
        await self._link(timeout_s)
        model = self._supervisor.status().model
        assert model is not None
        return model

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent, None]:
        """Yield the answer's events; a lost worker is followed by another, unseen.

        Closing the iterator cancels the request at once. Raises `EngineNotReady`, `EngineBusy`,
        `EngineError` when workers keep dying of it, `BadRequest` for an unusable grammar.
        """
        resume = Resume(request)
        with self._at_work():
            while True:
                link = await self._link()
                try:
                    async with aclosing(link.generate(resume.request())) as replies:
                        async for reply in replies:
                            if isinstance(reply, wire.Error):
                                raise _error(reply)
                            if (event := resume.take(reply)) is not None:
                                yield event
                    return
                except WorkerLost as lost:
                    if (end := resume.lose(str(lost))) is not None:
                        yield end
                        return

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        self._generating += 1
        self._calibrator.interrupt()
        try:
            yield
        finally:
            self._generating -= 1

    def _loaded(self, ready: wire.Ready) -> None:
        if ready.calibrate:
            self._calibrator.want()

    def _idle(self) -> bool:
        """Whether the machine may be measured: nobody needs the model, or is about to."""
        status = self._supervisor.status()
        working = self.generating or status.active + status.queued > 0
        return status.state == "ready" and not working and self._may_calibrate()

    @property
    def calibrating(self) -> bool:
        """Whether the machine is being measured now; what else computes would spoil it."""
        return self._calibrator.running

    @property
    def generating(self) -> bool:
        """Whether anybody waits for an answer."""
        return self._generating > 0

    async def warm(
        self, dialect: str, body: bytes, *, max_tokens: int, prompt_budget_tokens: int | None
    ) -> wire.Warmed:
        """Have the beginning of what this request would need ready; others go first.

        `max_tokens` and `prompt_budget_tokens` as of the request itself. Cancelling ends it at
        once; what was computed stays. Raises `EngineNotReady` where a worker is missing or was
        lost over it, another `FallbackError` for a request that cannot be warmed.
        """
        link = await self._link()
        try:
            reply = await link.warm(
                dialect,
                body,
                max_tokens=max_tokens,
                prompt_budget_tokens=prompt_budget_tokens,
            )
        except WorkerLost as lost:
            raise EngineNotReady(f"the local engine was lost: {lost}") from lost
        if isinstance(reply, wire.Error):
            raise _error(reply)
        return reply

    async def pace(self, cpu: float) -> None:
        """The share of all cores that warming may take from now on. Raises `EngineNotReady`."""
        (await self._link()).pace(cpu)

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the whole conversation. Raises `EngineNotReady`, `EngineError`."""
        link = await self._link()
        try:
            return await link.count(conversation)
        except WorkerLost as lost:
            raise EngineError(f"the local engine was lost while it counted: {lost}") from lost

    async def _link(self, timeout_s: float | None = None) -> WorkerLink:
        """A worker with a loaded model; it is loaded now if it was not to be before."""
        if not self._stopped:
            self._supervisor.start()
        if timeout_s is None:
            timeout_s = self._settings.ready_timeout_s
        return await self._supervisor.link(timeout_s)


def _error(reply: wire.Error) -> FallbackError:
    """The worker's error as the exception it stands for."""
    if reply.kind == "bad_request":
        return BadRequest(reply.message)
    if reply.kind == "busy":
        return EngineBusy(reply.message, retry_after_s=reply.retry_after_s or _BUSY_RETRY_S)
    return EngineError(reply.message)
