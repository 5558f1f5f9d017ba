"""An attempt at an alternate, of which only good answers are committed.

Its errors come as an outcome, whatever they say: they may well be about the operator's account,
its own smaller context, or the translation, and a client that acts on them (compacts its history,
gives up its key) acts wrongly.
"""

from __future__ import annotations

import msgspec

from fallback.core.outcome import Failure, Outcome
from fallback.core.policy import Deadlines
from fallback.core.provenance import Headers
from fallback.tiers.translation import Translation
from fallback.upstream.attempt import Attempt, Clock, Request, Whole
from fallback.upstream.encoding import Decoder, DecodingError, decode
from fallback.upstream.headers import content_coding
from fallback.upstream.live import Live, Send
from fallback.upstream.stream import StreamWatch
from fallback.upstream.transport import Transport, TransportResponse, UpstreamConfig

_OF_THE_ANSWER = frozenset(
    {b"cache-control", b"content-encoding", b"content-length", b"content-type"}
    | {b"request-id", b"x-request-id"}
)
_MAX_DECODED_BYTES = 512 * 1024 * 1024
_KEEPALIVE_S = 5.0


class SameDialect(Attempt):
    """An attempt in the client's own dialect, of which only good answers are committed."""

    async def run(self) -> Whole | Live | Outcome:
        result = await super().run()
        if isinstance(result, Outcome):
            return result
        if result.status >= 400:
            if isinstance(result, Live):
                result.close()
                return self.succeeded(result.status)
            return result.outcome
        return self._good(result)

    def _good(self, result: Whole | Live) -> Whole | Live | Outcome:
        headers = [pair for pair in result.headers if pair[0] in _OF_THE_ANSWER]
        if isinstance(result, Whole):
            return msgspec.structs.replace(result, headers=headers)
        result.headers = headers
        return result

    def _live(
        self,
        response: TransportResponse,
        headers: Headers,
        watch: StreamWatch,
        decoder: Decoder | None,
        held: list[bytes],
    ) -> Live | Outcome:
        if watch.error is not None:
            return self.failed(
                "content", Failure.ERROR_EVENT, status=response.status, error=watch.error
            )
        return super()._live(response, headers, watch, decoder, held)


class Translated(SameDialect):
    """An attempt in another dialect than the client's."""

    def __init__(
        self,
        transport: Transport,
        upstream: UpstreamConfig,
        request: Request,
        deadlines: Deadlines,
        translation: Translation,
        *,
        clock: Clock,
    ) -> None:
        super().__init__(transport, upstream, request, deadlines, clock=clock)
        self._translation = translation

    def _good(self, result: Whole | Live) -> Whole | Live | Outcome:
        if isinstance(result, Live):
            return result
        coding = content_coding(result.headers)
        try:
            plain = decode(result.body, coding, limit_bytes=_MAX_DECODED_BYTES)
            headers, body = self._translation.whole(plain)
        except (DecodingError, ValueError) as error:
            return self.failed("content", Failure.NOT_JSON, status=result.status, detail=str(error))
        return msgspec.structs.replace(result, headers=headers, body=body)

    def _live(
        self,
        response: TransportResponse,
        headers: Headers,
        watch: StreamWatch,
        decoder: Decoder | None,
        held: list[bytes],
    ) -> Live | Outcome:
        live = super()._live(response, headers, watch, decoder, held)
        if isinstance(live, Outcome):
            return live
        return TranslatedLive(self, response, watch, decoder, held, self._translation)


class TranslatedLive(Live):
    """A stream of another dialect, passed on in the client's. What it keeps for the case that
    it breaks is what the client has."""

    def __init__(
        self,
        attempt: Attempt,
        response: TransportResponse,
        watch: StreamWatch,
        decoder: Decoder | None,
        held: list[bytes],
        translation: Translation,
    ) -> None:
        super().__init__(attempt, response, translation.headers, watch, decoder, held)
        self._translation = translation
        self._clock = attempt.clock
        self._spoke_at = attempt.clock()

    @property
    def said(self) -> bytes:
        # An error event of the other dialect means nothing to the client.
        return b""

    async def _pass(self, chunk: bytes, send: Send) -> None:
        out, now = self._translation.chunk(chunk), self._clock()
        if not out and now - self._spoke_at >= _KEEPALIVE_S:
            # It thinks, or pings: signs of life that the client would miss.
            out = self._translation.keepalive()
        if out:
            self._spoke_at = now
            await super()._pass(out, send)
