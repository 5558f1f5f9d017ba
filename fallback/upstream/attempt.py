"""One attempt at one upstream: from a request to a committed answer, or to an outcome.

The commit rule: nothing of an answer reaches the client before it is known to be good. For a
stream that is its first content event; for a generated answer in one piece all of it, read and
checked; for anything else the status and headers. What fails before costs the client nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import NamedTuple

import msgspec

from fallback.core.outcome import AttemptFacts, Failure, Outcome, Phase, classify
from fallback.core.policy import Deadlines, Step
from fallback.core.provenance import Headers
from fallback.dialects.base import Dialect, ErrorFacts
from fallback.upstream.encoding import Decoder, DecodingError, decode
from fallback.upstream.headers import find
from fallback.upstream.stream import StreamWatch
from fallback.upstream.transport import (
    Transport,
    TransportError,
    TransportResponse,
    UpstreamConfig,
)

Send = Callable[[bytes], Awaitable[None]]
Clock = Callable[[], float]

_MAX_WHOLE_BYTES = 32 * 1024 * 1024
_MAX_PROLOGUE_BYTES = 1024 * 1024
_MAX_ERROR_BYTES = 1024 * 1024
_MAX_DECODED_BYTES = 512 * 1024 * 1024


class Request(NamedTuple):
    """What to send. `generates`: the answer must be one of a model's, in the dialect."""

    method: str
    target: str
    headers: Headers
    body: bytes | AsyncIterable[bytes]
    dialect: Dialect | None
    generates: bool
    streams: bool


class Whole(msgspec.Struct, frozen=True, kw_only=True):
    """An answer that is here, to its last byte."""

    status: int
    headers: Headers
    body: bytes
    outcome: Outcome


class Live:
    """An answer whose beginning is good and whose rest is on its way.

    `deliver` sends it on and gives the outcome; `close` drops it. After a break `deliver` has
    sent whole events only, and `broken` tells the caller that the end is missing.
    """

    def __init__(
        self,
        attempt: Attempt,
        response: TransportResponse,
        headers: Headers,
        watch: StreamWatch | None,
        decoder: Decoder | None,
        held: list[bytes],
    ) -> None:
        self.status = response.status
        self.headers = headers
        self.broken = False
        self._attempt = attempt
        self._response = response
        self._watch = watch
        self._decoder = decoder
        self._held = held

    async def deliver(self, send: Send) -> Outcome:
        try:
            for chunk in self._held:
                await send(chunk)
            self._held.clear()
            return await self._pump(send)
        finally:
            self.close()

    def close(self) -> None:
        self._response.close()

    @property
    def whole(self) -> Outcome | None:
        """The outcome, once the stream's last event was sent: a client may leave then, without
        waiting for the end of the response."""
        ended = self._watch is not None and self._watch.ended and not self._held
        return self._attempt.succeeded(self.status) if ended else None

    @property
    def speaks(self) -> bool:
        """Whether an event of ours can be added: a stream of events that is not compressed."""
        return self._watch is not None and self._decoder is None

    async def _pump(self, send: Send) -> Outcome:
        read, stall_s = self._response.read, self._attempt.stall_s
        while self._watch is None or self._watch.error is None:
            try:
                chunk = await read(stall_s)
                if not chunk:
                    return await self._end(send)
                out = self._look(chunk)
            except TransportError as error:
                stalled = error.failure is Failure.TIMEOUT
                failure = Failure.STALL if stalled else error.failure
                return await self._break(send, failure, str(error))
            except DecodingError as error:
                return await self._break(send, Failure.ENCODING, str(error))
            if out:
                await send(out)
        self.broken = True
        return self._attempt.failed("stream", Failure.ERROR_EVENT, error=self._watch.error)

    def _look(self, chunk: bytes) -> bytes:
        """The bytes to forward now: whole events, or all of a stream that is compressed."""
        if self._watch is None:
            return chunk
        if self._decoder is None:
            return self._watch.feed(chunk)
        self._watch.feed(self._decoder.feed(chunk))
        return chunk

    async def _end(self, send: Send) -> Outcome:
        if self._watch is None:
            return self._attempt.succeeded(self.status)
        detail = "the stream ended without its last event"
        return await self._break(send, Failure.TRUNCATED, detail)

    async def _break(self, send: Send, failure: Failure, detail: str) -> Outcome:
        """Nothing more will come; what came may be the whole answer all the same."""
        watch = self._watch
        if watch is not None and watch.ended:
            return self._attempt.succeeded(self.status)
        if watch is not None and watch.finished and self._decoder is None:
            # Only the terminal event is missing: add it, since several clients take its absence
            # for an error or for silence.
            await send(self._attempt.terminal)
            return self._attempt.succeeded(self.status)
        self.broken = True
        return self._attempt.failed("stream", failure, detail=detail)


class Attempt:
    """One try. Call `run` once."""

    def __init__(
        self,
        transport: Transport,
        upstream: UpstreamConfig,
        request: Request,
        deadlines: Deadlines,
        step: Step,
        *,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._upstream = upstream
        self._request = request
        self._clock = clock
        self._started = self._asked = clock()
        self._upload_error: Exception | None = None
        self.stall_s = deadlines.stall_s
        self.terminal = request.dialect.terminal if request.dialect else b""
        self._head_s, self._commit_s = _limits(request, deadlines, step)

    async def run(self) -> Whole | Live | Outcome:
        """A good answer, an error answer of the upstream's (`Whole`), or an outcome without."""
        try:
            response = await self._send()
        except TransportError as error:
            if self._upload_error is not None:
                raise self._upload_error from error
            phase: Phase = "headers" if error.sent else "connect"
            return self.failed(phase, error.failure, detail=str(error))
        kept = False
        try:
            result = await self._commit(response)
            kept = isinstance(result, Live)
            return result
        finally:
            if not kept:
                response.close()

    async def _send(self) -> TransportResponse:
        request = self._request
        return await self._transport.send(
            self._upstream,
            request.method,
            request.target,
            request.headers,
            request.body if isinstance(request.body, bytes) else self._timed(request.body),
            limit_s=self._head_s,
        )

    async def _timed(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The body; the deadlines count from its last bytes, since its pace is the client's."""
        try:
            async for chunk in body:
                self._asked = self._clock()
                yield chunk
        except Exception as error:
            # A transport may make a failure of its own of it, which would blame the upstream.
            self._upload_error = error
            raise

    async def _commit(self, response: TransportResponse) -> Whole | Live | Outcome:
        try:
            return await self._judge(response)
        except TransportError as error:
            return self.failed("content", error.failure, status=response.status, detail=str(error))
        except DecodingError as error:
            return self.failed(
                "content", Failure.ENCODING, status=response.status, detail=str(error)
            )

    def _left_s(self) -> float:
        """What is left of the time in which the answer must be committed."""
        return max(0.0, self._asked + self._commit_s - self._clock())

    async def _read(self, response: TransportResponse, limit_bytes: int) -> tuple[bytes, bool]:
        """The body up to a little over the limit, and whether that is all of it."""
        chunks: list[bytes] = []
        size = 0
        while chunk := await response.read(self._left_s()):
            chunks.append(chunk)
            size += len(chunk)
            if size > limit_bytes:
                return b"".join(chunks), False
        return b"".join(chunks), True

    async def _judge(self, response: TransportResponse) -> Whole | Live | Outcome:
        if response.status >= 400:
            return await self._error(response)
        if not self._request.generates:
            return Live(self, response, response.headers, None, None, [])
        content_type = (find(response.headers, b"content-type") or b"").lower()
        if content_type.startswith(b"text/event-stream"):
            return await self._stream(response)
        return await self._whole(response, content_type)

    async def _error(self, response: TransportResponse) -> Whole | Live | Outcome:
        """An error answer is read whole, so that its type can be known; a large one passes."""
        if self._request.dialect is None or self._request.method == "HEAD":
            return Live(self, response, response.headers, None, None, [])
        body, whole = await self._read(response, _MAX_ERROR_BYTES)
        if not whole:
            outcome = classify(self._facts("done", status=response.status))
            passes = Live(self, response, response.headers, None, None, [body])
            return outcome if outcome.next_tier else passes
        coding = _coding(response)
        try:
            plain = decode(body, coding, limit_bytes=_MAX_ERROR_BYTES)
        except DecodingError:
            plain = b""
        error = self._request.dialect.read_error(plain)
        facts = self._facts("done", status=response.status, error=error)
        return Whole(
            status=response.status, headers=response.headers, body=body, outcome=classify(facts)
        )

    async def _whole(self, response: TransportResponse, content_type: bytes) -> Whole | Outcome:
        body, whole = await self._read(response, _MAX_WHOLE_BYTES)
        if not whole:
            raise TransportError(Failure.PROTOCOL, "the answer is too large", sent=True)
        plain = decode(body, _coding(response), limit_bytes=_MAX_DECODED_BYTES)
        if not _is_json_object(plain):
            html = content_type.startswith(b"text/html") or plain.lstrip()[:1] == b"<"
            failure = Failure.EMPTY if not plain else Failure.HTML if html else Failure.NOT_JSON
            return self.failed(
                "content", failure, status=response.status, detail="not an answer of the API"
            )
        return Whole(
            status=response.status,
            headers=response.headers,
            body=body,
            outcome=self.succeeded(response.status),
        )

    async def _stream(self, response: TransportResponse) -> Live | Outcome:
        dialect = self._request.dialect
        assert dialect is not None
        watch = StreamWatch(dialect)
        coding = _coding(response)
        decoder = Decoder(coding, limit_bytes=_MAX_DECODED_BYTES) if coding else None
        held: list[bytes] = []
        size = 0
        while not watch.committed and size < _MAX_PROLOGUE_BYTES:
            chunk = await response.read(self._left_s())
            if not chunk:
                return self._ended_early(response, empty=size == 0)
            whole = watch.feed(chunk if decoder is None else decoder.feed(chunk))
            held.append(whole if decoder is None else chunk)
            size += len(chunk)
            if watch.error is not None:
                failed = self.failed(
                    "content", Failure.ERROR_EVENT, status=response.status, error=watch.error
                )
                if failed.next_tier:
                    return failed
                watch.committed = True
            elif watch.malformed:
                return self.failed("content", Failure.NOT_JSON, status=response.status)
        return Live(self, response, response.headers, watch, decoder, held)

    def _ended_early(self, response: TransportResponse, *, empty: bool) -> Outcome:
        failure = Failure.EMPTY if empty else Failure.TRUNCATED
        return self.failed("content", failure, status=response.status)

    def succeeded(self, status: int) -> Outcome:
        """The outcome of an answer that came whole."""
        return classify(self._facts("done", status=status))

    def failed(
        self,
        phase: Phase,
        failure: Failure,
        *,
        status: int | None = None,
        error: ErrorFacts | None = None,
        detail: str | None = None,
    ) -> Outcome:
        """The outcome of an answer that did not; `detail` is for a person."""
        told = error or ErrorFacts(message=detail)
        return classify(self._facts(phase, status=status, failure=failure, error=told))

    def _facts(
        self,
        phase: Phase,
        *,
        status: int | None,
        failure: Failure | None = None,
        error: ErrorFacts | None = None,
    ) -> AttemptFacts:
        return AttemptFacts(
            phase=phase,
            status=status,
            failure=failure,
            error_type=error.type if error else None,
            error_kind=error.kind if error else None,
            error_message=error.message if error else None,
            duration_s=self._clock() - self._started,
        )


def _limits(request: Request, deadlines: Deadlines, step: Step) -> tuple[float, float]:
    """Seconds until the headers, and until the commit."""
    if step.alone:
        return deadlines.alone_s, deadlines.alone_s
    if not request.generates:
        return deadlines.whole_s, deadlines.whole_s
    if not request.streams:
        whole_s = deadlines.first_content_s if step.canary else deadlines.whole_s
        return whole_s, whole_s
    if step.canary:
        return deadlines.canary_s, deadlines.canary_s
    return deadlines.first_byte_s, deadlines.first_content_s


def _coding(response: TransportResponse) -> str | None:
    value = find(response.headers, b"content-encoding")
    return value.decode("latin-1") if value else None


def _is_json_object(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return body.lstrip()[:1] == b"{"
