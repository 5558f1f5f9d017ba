"""An engine that follows a script: ships with the package, injected by constructor in tests."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeAlias

import msgspec

from fallback.core.answer import Cut, StopReason
from fallback.core.conversation import Conversation
from fallback.core.errors import EngineNotReady, FallbackError
from fallback.core.ports import (
    EngineEvent,
    EngineStatus,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    ModelIdentity,
    Piece,
)

SCRIPTED_MODEL = ModelIdentity(
    name="scripted",
    sha256="0" * 64,
    quantization="none",
    context_tokens=8192,
    engine="script",
)


class Say(msgspec.Struct, frozen=True):
    """Yield this text, which counts as one token."""

    text: str


class Wait(msgspec.Struct, frozen=True):
    """Wait until this is done: an event the test sets, or a clock it moves."""

    until: Callable[[], Awaitable[object]]


class Fail(msgspec.Struct, frozen=True):
    """Raise this instead of going on."""

    error: FallbackError


Act: TypeAlias = Say | Wait | Fail


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """One answer. A `Wait` or `Fail` in front comes before `GenerationStarted` if `early`."""

    acts: tuple[Act, ...] = (Say("Hello"), Say(" there."))
    reason: StopReason = "end"
    stop_sequence: str | None = None
    input_tokens: int = 7
    cuts: tuple[Cut, ...] = ()
    early: bool = False


class ScriptedEngine:
    """Answers with `scripts` in turn, the last one over and over.

    `requests` are those seen, `closed` the ids of those whose iterator ended, for whatever
    reason. `not_ready` makes it an engine without a model, for that reason.
    """

    def __init__(
        self,
        *scripts: Script,
        model: ModelIdentity = SCRIPTED_MODEL,
        not_ready: str | None = None,
        counts: int = 7,
    ) -> None:
        self._scripts = scripts or (Script(),)
        self._model = model
        self._counts = counts
        self.not_ready = not_ready
        self.requests: list[GenerateRequest] = []
        self.closed: list[str] = []

    def __repr__(self) -> str:
        return f"<ScriptedEngine requests={len(self.requests)} closed={len(self.closed)}>"

    def status(self) -> EngineStatus:
        """`failed` with the reason while `not_ready` is set, else `ready`."""
        if self.not_ready is not None:
            return EngineStatus(state="failed", detail=self.not_ready)
        active = len(self.requests) - len(self.closed)
        return EngineStatus(state="ready", model=self._model, active=active)

    async def ready(self, timeout_s: float) -> ModelIdentity:
        """At once, either way."""
        if self.not_ready is not None:
            raise EngineNotReady(self.not_ready)
        return self._model

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent, None]:
        """Play the next script."""
        await self.ready(0)
        script = self._scripts[min(len(self.requests), len(self._scripts) - 1)]
        self.requests.append(request)
        try:
            async for event in _play(script):
                yield event
        finally:
            self.closed.append(request.id)

    async def count(self, conversation: Conversation) -> int:
        """The number it was made with."""
        await self.ready(0)
        return self._counts


async def _play(script: Script) -> AsyncGenerator[EngineEvent, None]:
    acts = list(script.acts)
    while script.early and acts and not isinstance(acts[0], Say):
        await _wait_or_fail(acts.pop(0))
    yield GenerationStarted(input_tokens=script.input_tokens, cuts=script.cuts)
    for act in acts:
        if isinstance(act, Say):
            yield Piece(act.text)
        else:
            await _wait_or_fail(act)
    yield GenerationFinished(
        reason=script.reason,
        input_tokens=script.input_tokens,
        output_tokens=sum(isinstance(act, Say) for act in acts),
        stop_sequence=script.stop_sequence,
    )


async def _wait_or_fail(act: Act) -> None:
    if isinstance(act, Fail):
        raise act.error
    assert isinstance(act, Wait)
    await act.until()
