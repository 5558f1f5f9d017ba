"""One attempt at one upstream: from a request to a committed answer, or to an outcome.

The commit rule: nothing of an answer reaches the client before it is known to be good. For a
stream that is its first content event; for a generated answer in one piece all of it, read and
checked; for anything else the status and headers. What fails before costs the client nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable
from typing import NamedTuple

import msgspec

from fallback.core.outcome import (
    AttemptFacts,
    Failure,
    Outcome,
    Phase,
    classify,
    hedged_away,
    slowed,
)
from fallback.core.policy import Deadlines
from fallback.core.provenance import Headers
from fallback.core.retry_after import retry_after_s
from fallback.dialects.base import Dialect, ErrorFacts
from fallback.upstream.encoding import Decoder, DecodingError, decode
from fallback.upstream.headers import content_coding, find
from fallback.upstream.live import Live
from fallback.upstream.stream import StreamWatch
from fallback.upstream.transport import (
    Transport,
    TransportError,
    TransportResponse,
    UpstreamConfig,
)

Clock = Callable[[], float]

_MAX_WHOLE_BYTES = 32 * 1024 * 1024
_MAX_PROLOGUE_BYTES = 1024 * 1024
_MAX_ERROR_BYTES = 1024 * 1024
_MAX_DECODED_BYTES = 32 * 1024 * 1024
_ID_CHARS = 100
_NO_HEADERS: Headers = []
_OF_THE_BYTES = frozenset({b"content-encoding", b"content-length"})


class Request(NamedTuple):
    """What to send. `generates`: the answer must be one of a model's, in the dialect; then only
    that is committed."""

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


class Attempt:
    """One try. Call `run` once.

    Its own limit is the patience of one who has no other choice (`alone_s`); a hurry because
    another tier could answer is the caller's, who cancels it then. `answered`: the head of a
    good answer is here. `committed_s`: seconds from the start to the commit.
    """

    def __init__(
        self,
        transport: Transport,
        upstream: UpstreamConfig,
        request: Request,
        deadlines: Deadlines,
        *,
        clock: Clock,
    ) -> None:
        self._transport = transport
        self._upstream = upstream
        self._request = request
        self.started = self._asked = clock()
        self._limit_s, self._connect_s = deadlines.alone_s, deadlines.connect_s
        self._upload_error: Exception | None = None
        self.clock = clock
        self.answered = False
        self.committed_s: float | None = None
        self.stall_s = deadlines.stall_s
        self.progress_s = deadlines.progress_s
        self.terminal = request.dialect.terminal if request.dialect else b""

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
            self.answered = response.status < 400
            result = await self._commit(response)
            self.committed_s = self.clock() - self.started
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
            limit_s=self._limit_s,
            connect_s=self._connect_s,
        )

    async def _timed(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        """The body; the deadlines count from its last bytes, since its pace is the client's."""
        try:
            async for chunk in body:
                self._asked = self.clock()
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
        return max(0.0, self._asked + self._limit_s - self.clock())

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
            return Live(self, response, response.headers)
        if response.status >= 300:
            # Clients follow it and take their keys along, to wherever a captive portal says.
            detail = "redirected, which the API never does"
            return self.failed("content", Failure.REDIRECT, status=response.status, detail=detail)
        content_type = (find(response.headers, b"content-type") or b"").lower()
        if content_type.startswith(b"text/event-stream"):
            return await self._stream(response)
        return await self._whole(response, content_type)

    async def _error(self, response: TransportResponse) -> Whole | Live | Outcome:
        """An error answer is read whole, so that its type can be known; a large one passes."""
        if self._request.dialect is None or self._request.method == "HEAD":
            return Live(self, response, response.headers)
        body, whole = await self._read(response, _MAX_ERROR_BYTES)
        if not whole:
            outcome = classify(self._facts("done", status=response.status))
            passes = Live(self, response, response.headers, held=[body])
            return outcome if outcome.next_tier else passes
        coding = content_coding(response.headers)
        try:
            plain = decode(body, coding, limit_bytes=_MAX_ERROR_BYTES)
        except DecodingError:
            plain = b""
        error = self._request.dialect.read_error(plain)
        facts = self._facts("done", status=response.status, error=error, headers=response.headers)
        return Whole(
            status=response.status, headers=response.headers, body=body, outcome=classify(facts)
        )

    async def _whole(self, response: TransportResponse, content_type: bytes) -> Whole | Outcome:
        body, whole = await self._read(response, _MAX_WHOLE_BYTES)
        if not whole:
            raise TransportError(Failure.PROTOCOL, "the answer is too large", sent=True)
        plain = decode(body, content_coding(response.headers), limit_bytes=_MAX_DECODED_BYTES)
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
        coding = content_coding(response.headers)
        decoder = Decoder(coding, limit_bytes=_MAX_DECODED_BYTES) if coding else None
        held: list[bytes] = []
        size = 0
        while not watch.committed and size < _MAX_PROLOGUE_BYTES:
            chunk = await response.read(self._left_s())
            if not chunk:
                return self._ended_early(response, empty=size == 0)
            held.append(watch.feed(chunk if decoder is None else decoder.feed(chunk)))
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
        # What is sent may be plain where this was compressed, and longer where it broke off.
        headers = [pair for pair in response.headers if pair[0] not in _OF_THE_BYTES]
        return self._live(response, headers, watch, decoder, held)

    def _live(
        self,
        response: TransportResponse,
        headers: Headers,
        watch: StreamWatch,
        decoder: Decoder | None,
        held: list[bytes],
    ) -> Live | Outcome:
        """The stream whose beginning is good."""
        return Live(self, response, headers, watch, decoder, held)

    def _ended_early(self, response: TransportResponse, *, empty: bool) -> Outcome:
        failure = Failure.EMPTY if empty else Failure.TRUNCATED
        return self.failed("content", failure, status=response.status)

    def lost(self) -> Outcome:
        """The outcome of an attempt that was given up because another tier was first."""
        status = 200 if self.answered else None
        outcome = hedged_away(self._facts("content", status=status))
        # An answer in one piece has no head until it is written: silence says less of it.
        return outcome if self._request.streams else slowed(outcome)

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
        headers: Headers = _NO_HEADERS,
    ) -> AttemptFacts:
        return AttemptFacts(
            phase=phase,
            status=status,
            failure=failure,
            error_type=error.type if error else None,
            error_kind=error.kind if error else None,
            error_message=error.message if error else None,
            duration_s=self.clock() - self.started,
            retry_after_s=retry_after_s(headers, self.clock()) if headers else None,
            request_id=_request_id(headers),
        )


def _request_id(headers: Headers) -> str | None:
    """The provider's name for the request, which it asks for in a complaint."""
    value = find(headers, b"request-id") or find(headers, b"x-request-id")
    return value.decode("latin-1")[:_ID_CHARS] if value else None


def _is_json_object(body: bytes) -> bool:
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return body.lstrip()[:1] == b"{"
