"""Keeps the beginnings of live conversations ready in the engine, for the moment the cloud fails.

- The gateway hands over every request for an answer that passed; only a reference is kept.
- In a task of its own, when the engine has nothing else to do, the newest request of each
  conversation that is not ready (`conversations.py`) is sent to the worker as it came. The worker
  decodes, fits and computes it at the lowest priority; whoever wants an answer goes first there.
- How fast, `pacing.py` says, again and again; where it says not at all, what is under way is
  ended, and goes on later from where it was.
- A new worker has nothing ready (or what it finds on disk): all is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from fallback.core.errors import EngineBusy, EngineNotReady, FallbackError
from fallback.core.passed import Passed
from fallback.core.ports import EngineStatus
from fallback.local import wire
from fallback.local.conversations import Conversations, Warmth
from fallback.local.pacing import Machine, Permit, StandbySettings, permit

_log = logging.getLogger("fallback.standby")

LOOK_S = 5.0
_SETTLE_S = 1.0
_MAX_FAILURES = 2

State: TypeAlias = Literal["warming", "ready", "waiting", "paused"]


class Warmer(Protocol):
    """The engine, as far as it is needed here; see `LocalEngine`."""

    @property
    def generating(self) -> bool: ...

    @property
    def calibrating(self) -> bool: ...

    def status(self) -> EngineStatus: ...

    async def warm(
        self, dialect: str, body: bytes, *, max_tokens: int, prompt_budget_tokens: int | None
    ) -> wire.Warmed: ...

    async def pace(self, cpu: float) -> None: ...


class StandbyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`state`: `warming` (at it now), `ready` (all is done), `waiting` (there is more to do, but
    not now) or `paused`; `why` tells in words where it is one of the last two. `warm` of
    `conversations` have their last request ready; their `tokens` take `kv_bytes` of `budget_bytes`.
    `cpu` is the share of all cores that may be taken now."""

    state: State
    why: str = ""
    conversations: int = 0
    warm: int = 0
    tokens: int = 0
    kv_bytes: int = 0
    budget_bytes: int = 0
    cpu: float = 0.0
    prefilled_tokens: int = 0


class Standby:
    """`look` tells of the machine; `plain` undoes a body's content coding, or raises
    `FallbackError`; `clock` in seconds."""

    def __init__(
        self,
        settings: StandbySettings,
        engine: Warmer,
        *,
        look: Callable[[], Machine],
        plain: Callable[[bytes, str | None], bytes],
        clock: Callable[[], float],
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._look = look
        self._plain = plain
        self._clock = clock
        self._conversations = Conversations()
        self._permit = Permit(cpu=settings.cpu)
        self._paced: tuple[int | None, float] = (None, 0.0)
        self._suspect = False
        self._warming = False
        self._waits = ""
        self._failures = 0
        self._prefilled = 0
        self._stir = asyncio.Event()
        self._alarm = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Standby {self.status().state} {self._conversations!r}>"

    def start(self) -> None:
        """Begin; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """End it, and what is under way."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    # -- what it hears -----------------------------------------------------------------------

    def saw(self, request: Passed) -> None:
        """A request passed. Costs microseconds: nothing is looked at here."""
        self._conversations.saw(request, self._clock())
        self._stir.set()

    def suspect(self, suspect: bool) -> None:
        """Whether an upstream is not well."""
        if suspect != self._suspect:
            self._suspect = suspect
            self._stir.set()
            self._alarm.set()

    def engine_changed(self, status: EngineStatus) -> None:
        """A worker has come or gone. One that was ended for want of work is not brought back by
        conversations in which nobody has asked since."""
        if status.state == "idle":
            self._conversations = Conversations()
        elif status.state != "ready":
            self._conversations.cool()
        self._stir.set()

    def status(self) -> StandbyStatus:
        """How it stands."""
        state, why = self._state()
        return StandbyStatus(
            state=state,
            why=why,
            conversations=len(self._conversations),
            warm=self._conversations.warm,
            tokens=self._conversations.tokens,
            kv_bytes=self._conversations.kv_bytes,
            budget_bytes=self._settings.memory_bytes,
            cpu=self._permit.cpu,
            prefilled_tokens=self._prefilled,
        )

    def _state(self) -> tuple[State, str]:
        if self._warming:
            return "warming", ""
        if self._permit.why:
            return "paused", self._permit.why
        return ("waiting", self._waits) if self._waits else ("ready", "")

    # -- what it does ------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            self._stir.clear()
            try:
                wait_s = await self._turn()
            except Exception:  # noqa: BLE001 - a bug here must not end standby for good
                _log.exception("a bug in standby")
                wait_s = LOOK_S
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stir.wait(), wait_s)
            if not self._suspect:
                # Requests come in bursts, of which the last is the one to have.
                await asyncio.sleep(_SETTLE_S)

    async def _turn(self) -> float | None:
        """Warm one request, if that may be. The seconds until there is more to do; None: when
        something is heard."""
        now, budget = self._clock(), self._settings.memory_bytes
        request = self._conversations.choose(now, budget_bytes=budget, urgent=self._suspect)
        if request is None:
            self._waits = ""
            return self._conversations.due_in_s(now, budget_bytes=budget)
        self._waits = self._hindrance()
        if self._waits or not self._permitted():
            return LOOK_S
        return await self._warm(request)

    def _hindrance(self) -> str:
        """Why the engine cannot take it now, in words; empty where it can."""
        if self._engine.generating:
            return "the engine is answering"
        if self._engine.calibrating:
            return "the machine is being measured"
        state = self._engine.status().state
        return "" if state in ("ready", "idle") else f"the engine is {state}"

    def _permitted(self) -> bool:
        self._permit = permit(self._settings, self._look(), self._permit, suspect=self._suspect)
        return self._permit.cpu > 0

    async def _warm(self, request: Passed) -> float:
        """Have it done while it is permitted; the seconds until the next may be."""
        work = asyncio.ensure_future(self._ask(request))
        self._warming = True
        try:
            while not await self._ended(work):
                if not self._permitted():
                    return LOOK_S
                await self._tell_pace()
            return await work
        finally:
            self._warming = False
            work.cancel()
            await asyncio.wait({work})

    async def _ended(self, work: asyncio.Future[float]) -> bool:
        """Whether it has, once something has changed or it is time for another look."""
        self._alarm.clear()
        alarm = asyncio.ensure_future(self._alarm.wait())
        either: set[asyncio.Future[Any]] = {work, alarm}
        try:
            await asyncio.wait(either, timeout=LOOK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            alarm.cancel()
        return work.done()

    async def _ask(self, request: Passed) -> float:
        settings = self._settings
        try:
            body = self._plain(request.body, request.coding)
            await self._tell_pace()
            done = await self._engine.warm(
                request.strain.dialect,
                body,
                max_tokens=settings.max_tokens,
                prompt_budget_tokens=settings.prompt_budget_tokens,
            )
        except FallbackError as error:
            return self._failed(request, error)
        self._failures = 0
        self._prefilled += done.prefilled_tokens
        warmth = Warmth(
            tokens=done.input_tokens, cached_tokens=done.cached_tokens, kv_bytes=done.kv_bytes
        )
        self._conversations.warmed(request, warmth, self._clock())
        return 0.0

    def _failed(self, request: Passed, error: FallbackError) -> float:
        """An engine that is away or busy is asked again, unless it is this request that it dies
        of; what it refuses, or what cannot be read, is forgotten."""
        _log.debug("a request is not kept warm: %s", error.message)
        if isinstance(error, EngineNotReady):
            self._failures += 1
        if isinstance(error, EngineNotReady | EngineBusy) and self._failures < _MAX_FAILURES:
            return LOOK_S
        self._failures = 0
        self._conversations.refused(request)
        return 0.0

    async def _tell_pace(self) -> None:
        """The worker keeps the pace that it was told; a new one knows of none."""
        pace = (self._engine.status().pid, self._permit.cpu)
        if pace != self._paced:
            await self._engine.pace(self._permit.cpu)
            self._paced = (self._engine.status().pid, self._permit.cpu)
