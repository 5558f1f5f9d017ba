"""The local tier: the same request, answered by the model on this machine.

bytes -> dialect -> conversation -> grammar -> engine -> answer events -> dialect -> bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from fallback.core import provenance as told
from fallback.core.answer import AnswerEvent, Finished, Started, StopReason, Usage
from fallback.core.conversation import Conversation
from fallback.core.errors import FallbackError
from fallback.core.grammar import grammar_for
from fallback.core.ports import (
    Engine,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    ModelIdentity,
    Piece,
)
from fallback.core.provenance import Provenance
from fallback.core.routing import Operation
from fallback.core.tool_syntax import AnswerParser
from fallback.dialects.base import AnswerContext, Dialect, StreamEncoder

Send = Callable[[bytes], Awaitable[None]]

_JSON = ((b"content-type", b"application/json"),)
_EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)


class LocalLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Token clamps of the operator's, and how long to wait for a model that is loading."""

    max_output_tokens: int
    max_prompt_tokens: int
    ready_timeout_s: float
    keepalive_s: float


class WholeAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer in one piece; `provenance` is final."""

    provenance: Provenance
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = _JSON


class StreamedAnswer:
    """An answer that is being generated; `provenance` is final. `whole` once its last event
    was sent: a client may leave then, without waiting for the end of the response."""

    headers = _EVENT_STREAM

    def __init__(
        self,
        provenance: Provenance,
        encoder: StreamEncoder,
        started: Started,
        events: AsyncGenerator[AnswerEvent, None],
        *,
        keepalive_s: float,
    ) -> None:
        self.provenance = provenance
        self._encoder = encoder
        self._started = started
        self._events = events
        self._keepalive_s = keepalive_s
        self.whole = False

    async def deliver(self, send: Send) -> FallbackError | None:
        """Send all of it. The error, if the engine gave up: the client has been told by then."""
        await send(self._encoder.encode(self._started))
        try:
            async with aclosing(_or_silence(self._events, self._keepalive_s)) as events:
                async for event in events:
                    encode = self._encoder
                    chunk = encode.keepalive() if event is None else encode.encode(event)
                    if chunk:
                        await send(chunk)
                    self.whole = isinstance(event, Finished)
        except FallbackError as error:
            await send(self._encoder.error(error.message, code=error.code))
            return error
        return None

    async def aclose(self) -> None:
        """Free what the engine still holds for this answer; safe to call again."""
        await self._events.aclose()


LocalAnswer: TypeAlias = WholeAnswer | StreamedAnswer


class LocalTier:
    """Answers from one engine."""

    def __init__(self, engine: Engine, limits: LocalLimits, *, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._limits = limits
        self._clock = clock

    async def answer(
        self, operation: Operation, dialect: Dialect, body: bytes, provenance: Provenance
    ) -> LocalAnswer:
        """The answer to `body` (decoded, JSON). `provenance` is completed with what only the
        engine knows. Raises `FallbackError`."""
        if operation == "generate":
            return await self._generate(dialect, body, provenance)
        if operation == "hello":
            return WholeAnswer(provenance=provenance, body=b"{}")
        model = await self._engine.ready(self._limits.ready_timeout_s)
        provenance = msgspec.structs.replace(provenance, model=model)
        if operation == "count_tokens":
            return await self._count(dialect, body, provenance)
        return self._models(operation, dialect, model, provenance)

    async def _count(self, dialect: Dialect, body: bytes, provenance: Provenance) -> LocalAnswer:
        conversation, _ = dialect.decode(body)
        provenance = msgspec.structs.replace(provenance, requested_model=conversation.model)
        tokens = await self._engine.count(conversation)
        return WholeAnswer(
            provenance=provenance, body=dialect.count_tokens_body(tokens, _extra(provenance))
        )

    def _models(
        self, operation: Operation, dialect: Dialect, model: ModelIdentity, provenance: Provenance
    ) -> LocalAnswer:
        created_s, extra = int(self._clock()), _extra(provenance)
        if operation == "models":
            body = dialect.models_body([model.name], created_s, extra)
        else:
            body = dialect.model_body(model.name, created_s, extra)
        return WholeAnswer(provenance=provenance, body=body)

    async def _generate(self, dialect: Dialect, body: bytes, provenance: Provenance) -> LocalAnswer:
        conversation, request = dialect.decode(body)
        grammar = grammar_for(conversation)
        model = await self._engine.ready(self._limits.ready_timeout_s)
        events = self._events(
            conversation,
            GenerateRequest(
                id=provenance.receipt,
                conversation=conversation,
                max_tokens=self._limits.max_output_tokens,
                prompt_budget_tokens=self._limits.max_prompt_tokens,
                grammar=grammar,
            ),
        )
        started = await anext(events)
        assert isinstance(started, Started)
        provenance = msgspec.structs.replace(
            provenance, requested_model=conversation.model, model=model, cuts=started.cuts
        )
        context = self._context(provenance, model, request)
        if conversation.stream:
            return StreamedAnswer(
                provenance,
                dialect.stream_encoder(context),
                started,
                events,
                keepalive_s=self._limits.keepalive_s,
            )
        async with aclosing(events):
            whole = [started, *[event async for event in events]]
        return WholeAnswer(provenance=provenance, body=dialect.encode_whole(context, whole))

    def _context(
        self, provenance: Provenance, model: ModelIdentity, request: Mapping[str, Any]
    ) -> AnswerContext:
        return AnswerContext(
            token=provenance.receipt.rpartition("_")[2],
            served_model=model.name,
            created_s=int(self._clock()),
            request=request,
            provenance=told.body(provenance),
        )

    async def _events(
        self, conversation: Conversation, request: GenerateRequest
    ) -> AsyncGenerator[AnswerEvent, None]:
        token = request.id.rpartition("_")[2]
        parser = AnswerParser(conversation, lambda index: f"call_{token}_{index}")
        async with aclosing(self._engine.generate(request)) as generation:
            async for event in generation:
                if isinstance(event, Piece):
                    for parsed in parser.feed(event.text):
                        yield parsed
                elif isinstance(event, GenerationStarted):
                    yield Started(input_tokens=event.input_tokens, cuts=event.cuts)
                else:
                    rest, reason = parser.finish(event.reason)
                    for parsed in rest:
                        yield parsed
                    yield _finished(event, reason)


def _finished(event: GenerationFinished, reason: StopReason) -> Finished:
    return Finished(
        reason=reason,
        stop_sequence=event.stop_sequence,
        usage=Usage(
            input_tokens=event.input_tokens,
            output_tokens=event.output_tokens,
            cached_tokens=event.cached_tokens,
        ),
    )


async def _or_silence(
    events: AsyncGenerator[AnswerEvent, None], silence_s: float
) -> AsyncGenerator[AnswerEvent | None, None]:
    """The events, and None for every `silence_s` seconds without one."""
    pending: asyncio.Future[AnswerEvent] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(events))
            done, _ = await asyncio.wait({pending}, timeout=silence_s)
            if not done:
                yield None
                continue
            try:
                event = pending.result()
            except StopAsyncIteration:
                return
            pending = None
            yield event
    finally:
        if pending is not None:
            pending.cancel()
            # Its end is taken note of, too: a task whose exception nobody reads is a bug's trace.
            await asyncio.gather(pending, return_exceptions=True)
        await events.aclose()


def _extra(provenance: Provenance) -> dict[str, Any]:
    return {"provenance": told.body(provenance)}
