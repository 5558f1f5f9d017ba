"""The engine of a deployment without a local model: it says so."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from fallback.core.conversation import Conversation
from fallback.core.errors import EngineNotReady
from fallback.core.ports import EngineEvent, EngineStatus, GenerateRequest, ModelIdentity

_NOTHING: tuple[EngineEvent, ...] = ()


class EngineOff:
    """Satisfies `core.ports.Engine`; everything raises `EngineNotReady` with the reason."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def status(self) -> EngineStatus:
        return EngineStatus(state="off", detail=self._reason)

    async def ready(self, timeout_s: float) -> ModelIdentity:
        raise EngineNotReady(f"The local tier is off: {self._reason}.")

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent, None]:
        await self.ready(0.0)
        for event in _NOTHING:
            yield event

    async def count(self, conversation: Conversation) -> int:
        await self.ready(0.0)
        raise AssertionError("ready always raises")
