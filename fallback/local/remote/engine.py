"""The port `Engine` over an OpenAI-compatible server.

A task looks at the server from time to time, so that `status` need not ask and a server that
comes later is found. What a request meets counts as a look, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import TypeAlias

import msgspec

from fallback.core.answer import (
    Finished,
    Started,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.conversation import Conversation
from fallback.core.errors import EngineError, EngineNotReady
from fallback.core.ports import (
    EngineEvent,
    EngineStatus,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    ModelIdentity,
    Piece,
)
from fallback.core.splice import Overlap
from fallback.dialects.base import Dialect, Mark
from fallback.local.remote.asking import Ask, ask, estimated_tokens
from fallback.local.remote.counting import count
from fallback.local.remote.rest import Rest
from fallback.local.remote.server import Server, chosen, with_props
from fallback.local.remote.settings import RemoteSettings
from fallback.local.remote.wire import Lost, Refused, Response, Send, TooLong, Wire

Said: TypeAlias = (
    Started | TextDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | ToolCallEnded
)
_LOOK_LIMIT_S = 5.0
_SHORTER = 0.5


class RemoteEngine:
    """Inference on a server. `dialect` is that of Chat Completions; `failures` is what `send`
    raises; `on_change` hears of every change of its state."""

    def __init__(
        self,
        settings: RemoteSettings,
        dialect: Dialect,
        send: Send,
        *,
        failures: type[Exception],
        on_change: Callable[[EngineStatus], None] = lambda status: None,
    ) -> None:
        self._settings = settings
        self._dialect = dialect
        self._wire = Wire(send, failures=failures, api_key=settings.api_key)
        self._on_change = on_change
        self._server: Server | None = None
        self._status = EngineStatus(state="starting", detail=f"looking for {settings.url}")
        self._active = 0
        self._continues: bool | None = {"yes": True, "no": False}.get(settings.prefill)
        self._found = asyncio.Event()
        self._look_now = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<RemoteEngine {self._settings.url} {self._status.state}>"

    def start(self) -> None:
        """Begin to look for the server; returns at once."""
        if self._watch is None:
            self._watch = asyncio.get_running_loop().create_task(self._look_on())

    async def stop(self) -> None:
        """Look no more. Answers in progress go on."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None

    def status(self) -> EngineStatus:
        """The state at the last look or request."""
        return msgspec.structs.replace(self._status, active=self._active)

    async def ready(self, timeout_s: float) -> ModelIdentity:
        """Wait for the server. Raises `EngineNotReady` with the reason."""
        await self._ready(timeout_s)
        assert self._status.model is not None
        return self._status.model

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[EngineEvent, None]:
        """Yield `GenerationStarted` once the server has accepted the request, then what it says.

        Closing the iterator drops the connection, by which servers know that nobody listens.
        A server that is lost in mid-answer is asked for the rest once it is back. Raises
        `EngineNotReady`, `EngineBusy`, `EngineError`.
        """
        rest = Rest(request)
        self._active += 1
        try:
            while True:
                try:
                    async with aclosing(self._once(rest)) as events:
                        async for event in events:
                            yield event
                    return
                except Lost as error:
                    self._failed(error.message)
                    rest.lose(error)
        except EngineNotReady as error:
            self._failed(error.message)
            raise
        finally:
            self._active -= 1

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the whole conversation; an estimate where the server does not count.
        Raises `EngineNotReady`."""
        server = await self._ready(self._settings.ready_timeout_s)
        try:
            counted = await count(self._wire, server, conversation, limit_s=_LOOK_LIMIT_S)
        except EngineNotReady as error:
            self._failed(error.message)
            raise
        except EngineError:
            counted = None
        return estimated_tokens(conversation) if counted is None else counted

    # -- one answer --------------------------------------------------------------------------

    async def _once(self, rest: Rest) -> AsyncGenerator[EngineEvent, None]:
        """What one request for the rest of an answer brings."""
        server = await self._ready(self._settings.ready_timeout_s)
        asked, response = await self._accepted(rest.request(), server)
        if not rest.begun:
            yield GenerationStarted(input_tokens=asked.input_tokens, cuts=asked.cuts)
        conversation = rest.request().conversation
        async with aclosing(self._answer(asked, response, conversation)) as events:
            async for event in events:
                yield rest.take(event)

    async def _accepted(self, request: GenerateRequest, server: Server) -> tuple[Ask, Response]:
        """The answer's beginning. A prompt that is too long after all is halved, and a server
        that turns out not to take a beginning starts again."""
        share = 1.0
        while True:
            asked = self._ask(request, server, share)
            try:
                return asked, await self._wire.stream(
                    self._dialect.path, asked.body, limit_s=self._settings.answer_s
                )
            except TooLong:
                if share < 1.0:
                    raise
                share = _SHORTER
            except Refused:
                if not asked.prefilled or self._continues is not None:
                    raise
                self._continues = False

    def _ask(self, request: GenerateRequest, server: Server, share: float) -> Ask:
        assert self._status.model is not None
        continues = server.continues if self._continues is None else self._continues
        size = self._status.model.context_tokens
        return ask(request, server.model, size, continues=continues, share=share)

    async def _answer(
        self, asked: Ask, response: Response, conversation: Conversation
    ) -> AsyncGenerator[EngineEvent, None]:
        reader = self._dialect.answer_reader(conversation)
        overlap = Overlap(asked.repeats)
        settings = self._settings
        stream = self._wire.events(response, first_s=settings.answer_s, stall_s=settings.stall_s)
        async with aclosing(stream):
            async for raw in stream:
                if self._dialect.mark(raw) is Mark.ERROR:
                    said = self._dialect.stream_error(raw).message or "no reason given"
                    raise EngineError(f"The model server gave up: {said}.")
                for event in reader.feed(raw):
                    if isinstance(event, Finished):
                        yield _finished(event, asked)
                        return
                    if (found := _engine_event(event, overlap)) is not None:
                        yield found
        raise Lost("The model server's answer broke off without its end.")

    # -- the server --------------------------------------------------------------------------

    async def _ready(self, timeout_s: float) -> Server:
        if self._server is None:
            self.start()
            self._look_now.set()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._found.wait()
            except TimeoutError as error:
                raise EngineNotReady(self._status.detail) from error
        assert self._server is not None
        return self._server

    async def _look_on(self) -> None:
        while True:
            await self._look()
            settings = self._settings
            self._look_now.clear()
            pause_s = settings.look_s if self._server else settings.retry_s
            with suppress(TimeoutError):
                # Not `wait_for`: before Python 3.12 it may swallow the cancelling of `stop`.
                async with asyncio.timeout(pause_s):
                    await self._look_now.wait()

    async def _look(self) -> None:
        try:
            models = await self._wire.get("/v1/models", limit_s=_LOOK_LIMIT_S)
            server = chosen(models, self._settings.model)
            if server.says_more:
                server = with_props(server, await self._wire.get("/props", limit_s=_LOOK_LIMIT_S))
        except EngineError as error:
            self._failed(error.message)
        except ValueError as error:
            self._failed(f"The model server at {self._settings.url} is of no use: {error}.")
        else:
            self._well(server)

    def _well(self, server: Server) -> None:
        self._server = server
        model = server.identity(self._settings.context_tokens)
        self._found.set()
        self._change(EngineStatus(state="ready", detail=self._settings.url, model=model))

    def _failed(self, detail: str) -> None:
        self._server = None
        self._found.clear()
        self._change(EngineStatus(state="failed", detail=detail))
        self._look_now.set()

    def _change(self, status: EngineStatus) -> None:
        changed = status != self._status
        self._status = status
        if changed:
            self._on_change(status)


def _engine_event(event: Said, overlap: Overlap) -> EngineEvent | None:
    match event:
        case Started():
            return None
        case TextDelta(text):
            new = overlap.feed(text)
            return Piece(new) if new else None
        case _:
            return event


def _finished(event: Finished, asked: Ask) -> GenerationFinished:
    usage = event.usage
    return GenerationFinished(
        reason=event.reason,
        input_tokens=usage.input_tokens or asked.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
    )
