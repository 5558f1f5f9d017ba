"""A committed answer that is still on its way: passed on while it is watched, kept in case it
breaks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from fallback.core.outcome import Failure, Outcome, Phase
from fallback.core.provenance import Headers
from fallback.dialects.base import ErrorFacts
from fallback.upstream.encoding import Decoder, DecodingError
from fallback.upstream.stream import StreamWatch
from fallback.upstream.transport import TransportError, TransportResponse

Send = Callable[[bytes], Awaitable[None]]

_KEPT_BYTES = 4 * 1024 * 1024
_SMALL_BYTES = 256


class Judge(Protocol):
    """What `Live` needs of its attempt: limits, and outcomes from facts."""

    stall_s: float
    progress_s: float
    terminal: bytes
    clock: Callable[[], float]

    def succeeded(self, status: int) -> Outcome: ...

    def failed(
        self,
        phase: Phase,
        failure: Failure,
        *,
        status: int | None = None,
        error: ErrorFacts | None = None,
        detail: str | None = None,
    ) -> Outcome: ...


class Live:
    """An answer whose beginning is good and whose rest is on its way.

    `deliver` sends it on and gives the outcome; `close` drops it. After a break `deliver` has
    sent whole good events only: `broken` tells the caller that the end is missing, `sent` what
    the client has, `said` the upstream's own last words (an error event), which were not sent.
    A compressed stream of events is sent on decoded: it could not be continued otherwise.
    """

    def __init__(
        self,
        judge: Judge,
        response: TransportResponse,
        headers: Headers,
        watch: StreamWatch | None = None,
        decoder: Decoder | None = None,
        held: list[bytes] | None = None,
    ) -> None:
        self.status = response.status
        self.headers = headers
        self.broken = False
        self._judge = judge
        self._response = response
        self._watch = watch
        self._decoder = decoder
        self._held = held or []
        self._kept: list[bytes] = []
        self._kept_bytes = 0
        self._idle_since: float | None = None

    async def deliver(self, send: Send) -> Outcome:
        try:
            for chunk in filter(None, self._held):
                await self._pass(chunk, send)
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
        return self._judge.succeeded(self.status) if ended else None

    @property
    def speaks(self) -> bool:
        """Whether it is a stream of events, to which one of ours can be added."""
        return self._watch is not None

    @property
    def sent(self) -> bytes | None:
        """All the client has; None if that is more than is kept."""
        return b"".join(self._kept) if self._kept_bytes <= _KEPT_BYTES else None

    @property
    def said(self) -> bytes:
        failed = self._watch is not None and self._watch.error is not None
        return self._watch.bad if failed and self._watch is not None else b""

    async def _pass(self, chunk: bytes, send: Send) -> None:
        if self._watch is not None:
            self._kept_bytes += len(chunk)
            if self._kept_bytes <= _KEPT_BYTES:
                self._kept.append(chunk)
            else:
                self._kept.clear()
        await send(chunk)

    async def _pump(self, send: Send) -> Outcome:
        read, stall_s = self._response.read, self._judge.stall_s
        while self._watch is None or not self._watch.failed:
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
                await self._pass(out, send)
        self.broken = True
        if self._watch.malformed:
            return self._judge.failed("stream", Failure.NOT_JSON, detail="an event was no JSON")
        return self._judge.failed("stream", Failure.ERROR_EVENT, error=self._watch.error)

    def _look(self, chunk: bytes) -> bytes:
        """The bytes to forward now: of a stream, whole events."""
        if self._watch is None:
            return chunk
        if self._decoder is not None:
            chunk = self._decoder.feed(chunk)
        if len(chunk) < _SMALL_BYTES and (b"ping" in chunk or chunk.startswith(b":")):
            self._tick()
        else:
            self._idle_since = None
        return self._watch.feed(chunk)

    def _tick(self) -> None:
        """A sign of life that is no progress; raises once there were only such for too long."""
        now = self._judge.clock()
        if self._idle_since is None:
            self._idle_since = now
        elif now - self._idle_since > self._judge.progress_s:
            detail = f"pings alone for {self._judge.progress_s:g} s"
            raise TransportError(Failure.TIMEOUT, detail, sent=True)

    async def _end(self, send: Send) -> Outcome:
        if self._watch is None:
            return self._judge.succeeded(self.status)
        detail = "the stream ended without its last event"
        return await self._break(send, Failure.TRUNCATED, detail)

    async def _break(self, send: Send, failure: Failure, detail: str) -> Outcome:
        """Nothing more will come; what came may be the whole answer all the same."""
        watch = self._watch
        if watch is not None and watch.ended:
            return self._judge.succeeded(self.status)
        if watch is not None and watch.finished:
            # Only the terminal event is missing: add it, since several clients take its absence
            # for an error or for silence.
            await self._pass(self._judge.terminal, send)
            return self._judge.succeeded(self.status)
        self.broken = True
        return self._judge.failed("stream", failure, detail=detail)
