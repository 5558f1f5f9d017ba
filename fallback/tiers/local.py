"""The local tier: the same request, answered by the model on this machine.

bytes -> dialect -> conversation -> grammar -> engine -> answer events -> dialect -> bytes.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeAlias

import msgspec

from fallback.core import provenance as told
from fallback.core.answer import AnswerEvent, Finished, Started, StopReason, ThinkingDelta, Usage
from fallback.core.conversation import Conversation
from fallback.core.errors import CloudOnly, FallbackError
from fallback.core.grammar import grammar_for
from fallback.core.notice import Notice, Notify, noticed, unmarked
from fallback.core.ports import (
    Engine,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    ModelIdentity,
    Piece,
)
from fallback.core.provenance import Provenance, Segment
from fallback.core.routing import Operation
from fallback.core.splice import LeadingSpaces, continuation
from fallback.core.tool_formats import AnswerReader, ToolFormat, format_for
from fallback.core.unfit import unfit
from fallback.dialects.base import AnswerContext, Dialect, Seam, StreamEncoder
from fallback.tiers.keepalive import Send, kept_alive

_JSON = ((b"content-type", b"application/json"),)
_EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
)


class LocalLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Token clamps of the operator's, how long to wait for a model that is loading, and whether
    clients see what a model reasons."""

    max_output_tokens: int
    max_prompt_tokens: int | None
    ready_timeout_s: float
    keepalive_s: float
    show_reasoning: bool = False


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How one request is to be had from the engine. `priority`: higher first. `client` is whom
    fair shares are between. The first content is wanted within `first_token_s`, and of no use
    after `late_after_s`. `agent` is the client's `User-Agent`, `notify` the operator's rule for
    the line that tells a person who answers."""

    priority: int = 0
    client: str = ""
    first_token_s: float | None = None
    late_after_s: float | None = None
    agent: str = ""
    notify: Notify = "auto"


_ANY = Terms()


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
        shows_reasoning: bool,
    ) -> None:
        self.provenance = provenance
        self._encoder = encoder
        self._started = started
        self._events = events
        self._keepalive_s = keepalive_s
        self._shows_reasoning = shows_reasoning
        self._ahead: list[AnswerEvent] = []
        self.whole = False

    async def prime(self) -> None:
        """Wait for the first content, so that the answer is known to be one. Raises
        `FallbackError`."""
        async for event in self._events:
            self._ahead.append(event)
            if self._shows_reasoning or not isinstance(event, ThinkingDelta):
                return

    async def deliver(self, send: Send) -> FallbackError | None:
        """Send all of it. The error, if the engine gave up: the client has been told by then."""
        try:
            async with (
                aclosing(self._events) as events,
                kept_alive(send, self._encoder.keepalive, self._keepalive_s) as send_on,
            ):
                for ready in (self._started, *self._ahead):
                    await self._pass_on(ready, send_on)
                async for event in events:
                    await self._pass_on(event, send_on)
        except FallbackError as error:
            await send(self._encoder.error(error.message, code=error.code))
            return error
        return None

    async def _pass_on(self, event: AnswerEvent, send: Send) -> None:
        if chunk := self._encoder.encode(event):
            await send(chunk)
        self.whole = isinstance(event, Finished)

    async def aclose(self) -> None:
        """Free what the engine still holds for this answer; safe to call again."""
        await self._events.aclose()


LocalAnswer: TypeAlias = WholeAnswer | StreamedAnswer


class LocalTier:
    """Answers from one engine."""

    def __init__(
        self,
        engine: Engine,
        limits: LocalLimits,
        *,
        clock: Callable[[], float],
        notice: Notice | None = None,
    ) -> None:
        self._engine = engine
        self._notice = notice
        self._limits = limits
        self._clock = clock

    async def answer(
        self,
        operation: Operation,
        dialect: Dialect,
        body: bytes,
        provenance: Provenance,
        terms: Terms = _ANY,
    ) -> LocalAnswer:
        """The answer to `body` (decoded, JSON). `provenance` is completed with what only the
        engine knows. Raises `FallbackError`."""
        if operation == "generate":
            return await self._generate(dialect, body, provenance, terms)
        if operation == "hello":
            return WholeAnswer(provenance=provenance, body=b"{}")
        model = await self._engine.ready(self._limits.ready_timeout_s)
        provenance = msgspec.structs.replace(provenance, model=model)
        if operation == "count_tokens":
            return await self._count(dialect, body, provenance)
        return self._models(operation, dialect, model, provenance)

    async def go_on(
        self,
        dialect: Dialect,
        body: bytes,
        seam: Seam,
        provenance: Provenance,
        terms: Terms = _ANY,
    ) -> StreamedAnswer:
        """The rest of a stream that broke off at `seam`; `body` asked for it. `provenance` is
        completed like that of an answer, and with who said what. Its tier is whose stream broke
        off, its reason why. Raises `FallbackError` where the engine cannot go on; nothing is
        sent then."""
        conversation, request = _decoded(dialect, body)
        model = await self._engine.ready(self._limits.ready_timeout_s)
        form = self._format(conversation)
        rest = continuation(conversation, seam.said, seam.output_tokens, form)
        reader = _reader(form, conversation, provenance)
        reader.resume(seam.said)
        events = self._events(
            msgspec.structs.replace(
                self._ask(rest.conversation, provenance, terms),
                grammar=rest.grammar,
                prefix=rest.prefix,
                grammar_start=rest.grammar_start,
            ),
            reader,
            spaces=rest.spaces,
            spent_tokens=seam.output_tokens,
        )
        started = await _first(events)
        provenance = msgspec.structs.replace(
            provenance,
            requested_model=conversation.model,
            model=model,
            cuts=started.cuts,
            loosened=started.loosened,
            tier="spliced",
            segments=_segments(seam, provenance, model),
        )
        # Reasoning in the middle of an answer has no place in some dialects.
        context = self._context(provenance, model, request)
        encoder = seam.encoder(msgspec.structs.replace(context, thinking=False))
        return self._streamed(provenance, encoder, started, events, shows_reasoning=False)

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

    async def _generate(
        self, dialect: Dialect, body: bytes, provenance: Provenance, terms: Terms
    ) -> LocalAnswer:
        conversation, request = _decoded(dialect, body)
        model = await self._engine.ready(self._limits.ready_timeout_s)
        form = self._format(conversation)
        ask = self._ask(conversation, provenance, terms)
        events = self._events(
            msgspec.structs.replace(ask, grammar=grammar_for(conversation, form)),
            _reader(form, conversation, provenance),
        )
        started = await _first(events)
        provenance = msgspec.structs.replace(
            provenance,
            requested_model=conversation.model,
            model=model,
            cuts=started.cuts,
            loosened=started.loosened,
        )
        if self._notice is not None:
            told_first = self._notice.line(terms.notify, terms.agent, conversation, provenance)
            events = noticed(events, told_first)
        context = self._context(provenance, model, request)
        if conversation.stream:
            encoder = dialect.stream_encoder(context)
            shows = self._limits.show_reasoning
            return self._streamed(provenance, encoder, started, events, shows_reasoning=shows)
        async with aclosing(events):
            whole = [started, *[event async for event in events]]
        return WholeAnswer(provenance=provenance, body=dialect.encode_whole(context, whole))

    def _format(self, conversation: Conversation) -> ToolFormat:
        """How the model at hand writes calls."""
        return format_for(self._engine.status().tool_format, conversation)

    def _ask(
        self, conversation: Conversation, provenance: Provenance, terms: Terms
    ) -> GenerateRequest:
        return GenerateRequest(
            id=provenance.receipt,
            conversation=conversation,
            max_tokens=self._limits.max_output_tokens,
            prompt_budget_tokens=self._limits.max_prompt_tokens,
            first_token_s=terms.first_token_s,
            late_after_s=terms.late_after_s,
            priority=terms.priority,
            client=terms.client,
        )

    def _streamed(
        self,
        provenance: Provenance,
        encoder: StreamEncoder,
        started: Started,
        events: AsyncGenerator[AnswerEvent, None],
        *,
        shows_reasoning: bool,
    ) -> StreamedAnswer:
        return StreamedAnswer(
            provenance,
            encoder,
            started,
            events,
            keepalive_s=self._limits.keepalive_s,
            shows_reasoning=shows_reasoning,
        )

    def _context(
        self, provenance: Provenance, model: ModelIdentity, request: Mapping[str, Any]
    ) -> AnswerContext:
        return AnswerContext(
            token=_token(provenance),
            served_model=model.name,
            created_s=int(self._clock()),
            request=request,
            provenance=told.body(provenance),
            thinking=self._limits.show_reasoning,
        )

    async def _events(
        self,
        request: GenerateRequest,
        reader: AnswerReader,
        *,
        spaces: int = 0,
        spent_tokens: int = 0,
    ) -> AsyncGenerator[AnswerEvent, None]:
        leading = LeadingSpaces(spaces)
        async with aclosing(self._engine.generate(request)) as generation:
            async for event in generation:
                if isinstance(event, Piece):
                    for parsed in reader.feed(leading.feed(event.text)):
                        yield parsed
                elif isinstance(event, GenerationStarted):
                    yield Started(
                        input_tokens=event.input_tokens,
                        cuts=event.cuts,
                        loosened=event.loosened,
                    )
                elif not isinstance(event, GenerationFinished):
                    yield event
                else:
                    rest, reason = reader.finish(event.reason)
                    for parsed in rest:
                        yield parsed
                    yield _finished(event, reason, spent_tokens)


def _decoded(dialect: Dialect, body: bytes) -> tuple[Conversation, Mapping[str, Any]]:
    """What is asked for. Raises `BadRequest`, or `CloudOnly` if no small model may answer it."""
    conversation, request = dialect.decode(body)
    if (found := unfit("generate", conversation, request)) is not None:
        raise CloudOnly(found.reason, should_retry=False)
    return unmarked(conversation), request


def _reader(form: ToolFormat, conversation: Conversation, provenance: Provenance) -> AnswerReader:
    token = _token(provenance)
    return form.reader(conversation, lambda index: f"call_{token}_{index}")


def _token(provenance: Provenance) -> str:
    return provenance.receipt.rpartition("_")[2]


def _segments(seam: Seam, provenance: Provenance, model: ModelIdentity) -> tuple[Segment, Segment]:
    began = Segment(
        from_char=0,
        tier=provenance.tier,
        model=seam.model,
        output_tokens=seam.output_tokens,
        estimated=seam.estimated,
    )
    ended = Segment(
        from_char=len(seam.said.text), tier="local", model=model.name, reason=provenance.reason
    )
    return began, ended


async def _first(events: AsyncGenerator[AnswerEvent, None]) -> Started:
    started = await anext(events)
    assert isinstance(started, Started)
    return started


def _finished(event: GenerationFinished, reason: StopReason, spent_tokens: int) -> Finished:
    return Finished(
        reason=reason,
        stop_sequence=event.stop_sequence,
        usage=Usage(
            input_tokens=event.input_tokens,
            output_tokens=spent_tokens + event.output_tokens,
            cached_tokens=event.cached_tokens,
        ),
    )


def _extra(provenance: Provenance) -> dict[str, Any]:
    return {"provenance": told.body(provenance)}
