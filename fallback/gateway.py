"""The story of one request, top to bottom. Read this first.

1. The router tells which upstream, dialect and operation the request means.
2. Health and policy give the plan: which tiers, in which order.
3. The cloud tier makes an attempt. Until its answer is committed the client has seen nothing,
   so what fails costs it only time: the next tier answers.
4. The local tier decodes the request, lets the engine answer and encodes its events.
5. Each attempt's outcome is folded into health; each answer says where it came from.
6. When it has ended, one frozen record goes to the observers.

Every path through `handle` sends exactly one answer, or aborts the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping
from typing import Literal, Protocol, TypeAlias

import msgspec

from fallback.core import provenance as told
from fallback.core.errors import BadRequest, FallbackError, Unavailable
from fallback.core.health import Board, Evidence
from fallback.core.outcome import Failure, Outcome
from fallback.core.policy import Plan, Step, plan
from fallback.core.provenance import Attempt, Headers, Provenance
from fallback.core.record import FinishedRequest
from fallback.core.routing import INFERENCE, Route, Router
from fallback.dialects.base import Dialect
from fallback.tiers.cloud import CloudTier
from fallback.tiers.local import LocalTier, StreamedAnswer
from fallback.upstream.attempt import Live, Whole
from fallback.upstream.encoding import DecodingError, decode
from fallback.upstream.headers import find, for_client, joined

Ending: TypeAlias = Literal["complete", "broken", "client-gone"]


class Exchange(Protocol):
    """One request of a client, and the way back. Header names are lower case; `path` is raw."""

    method: str
    path: str
    query: bytes
    headers: Headers

    async def body(self, limit_bytes: int) -> bytes | AsyncIterable[bytes]:
        """The whole body, or a stream of it (read or not) where it is over the limit."""
        ...

    async def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, chunk: bytes) -> None: ...

    async def finish(self, chunk: bytes = b"") -> None:
        """The proper end. An answer that was started and not finished is aborted."""
        ...


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`proxy` is this deployment's name in `Via` and `Proxy-Status`, an RFC 9651 token."""

    proxy: str
    max_body_bytes: int
    local: bool


class Story:
    """What has happened to one request so far."""

    __slots__ = (
        "attempts",
        "canary",
        "detail",
        "ended",
        "exchange",
        "provenance",
        "receipt",
        "route",
        "started",
        "status",
    )

    def __init__(self, exchange: Exchange, route: Route, receipt: str, started: float) -> None:
        self.exchange = exchange
        self.route = route
        self.receipt = receipt
        self.started = started
        self.attempts: tuple[Attempt, ...] = ()
        self.canary = False
        self.status: int | None = None
        self.ended: Ending = "client-gone"
        self.detail: str | None = None
        self.provenance: Provenance | None = None


class Gateway:
    """Answers requests. `token` gives a fresh random string; `clock` Unix time in seconds."""

    def __init__(
        self,
        settings: GatewaySettings,
        router: Router,
        dialects: Mapping[str, Dialect],
        board: Board,
        cloud: CloudTier,
        local: LocalTier,
        *,
        clock: Callable[[], float],
        token: Callable[[], str],
        observe: Callable[[FinishedRequest], None],
    ) -> None:
        self._settings = settings
        self._router = router
        self._dialects = dialects
        self._board = board
        self._cloud = cloud
        self._local = local
        self._clock = clock
        self._token = token
        self._observe = observe

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Cancel it when the client leaves: everything it held is freed."""
        route = self._router.route(exchange.method, exchange.path, dict(exchange.headers))
        story = Story(exchange, route, f"rcp_{self._token()}", self._clock())
        try:
            await self._answer(story)
        finally:
            self._close(story)

    async def _answer(self, story: Story) -> None:
        body = await story.exchange.body(self._settings.max_body_bytes)
        spare: Whole | None = None
        refusal: FallbackError | None = None
        chosen = self._plan(story, body)
        for step in chosen.steps:
            if step.tier == "cloud":
                result = await self._try_cloud(story, body, step)
                if isinstance(result, Live) or (
                    result and not self._goes_on(story, result, chosen)
                ):
                    return await self._send_cloud(story, result)
                spare = result
            else:
                refusal = await self._answer_locally(story, body, chosen.skipped)
                if refusal is None:
                    return None
        if spare is not None and not _is_embedding(story):
            return await self._send_cloud(story, spare)
        return await self._refuse(story, refusal or self._unavailable(story))

    def _plan(self, story: Story, body: bytes | AsyncIterable[bytes]) -> Plan:
        local = self._settings.local and isinstance(body, bytes)
        admission = self._board[story.route.upstream].admit(
            story.started, infers=story.route.operation in INFERENCE
        )
        story.canary = admission == "canary"
        return plan(story.route.operation, admission, local=local)

    # -- the cloud tier ----------------------------------------------------------------------

    async def _try_cloud(
        self, story: Story, body: bytes | AsyncIterable[bytes], step: Step
    ) -> Whole | Live | None:
        exchange = story.exchange
        result = await self._cloud.attempt(
            story.route,
            exchange.method,
            exchange.query,
            exchange.headers,
            body,
            step,
        )
        if isinstance(result, Live):
            return result
        outcome = result if isinstance(result, Outcome) else result.outcome
        self._learn(story, outcome)
        return None if isinstance(result, Outcome) else result

    def _goes_on(self, story: Story, result: Whole, chosen: Plan) -> bool:
        """Whether another tier should answer instead of this error of the upstream's."""
        return result.outcome.next_tier and (chosen.has_local or _is_embedding(story))

    async def _send_cloud(self, story: Story, result: Whole | Live) -> None:
        exchange, route = story.exchange, story.route
        headers = for_client(result.headers)
        if result.status in (401, 403):
            # Clients retry a bad key for minutes; nothing but the operator can mend it.
            headers = [pair for pair in headers if pair[0] != b"x-should-retry"]
            headers.append((b"x-should-retry", b"false"))
        headers += told.cloud_headers(
            route.upstream,
            result.status,
            story.receipt,
            joined(result.headers, b"proxy-status"),
            self._settings.proxy,
        )
        story.status = result.status
        if isinstance(result, Whole):
            await exchange.start(result.status, headers)
            await exchange.finish(result.body)
            story.ended = "complete"
            return
        try:
            await exchange.start(result.status, headers)
            outcome = await result.deliver(exchange.send)
        except asyncio.CancelledError:
            if (whole := result.whole) is not None:
                self._learn(story, whole)
                story.ended = "complete"
            raise
        finally:
            result.close()
        self._learn(story, outcome)
        await self._end_stream(story, result, outcome)

    async def _end_stream(self, story: Story, result: Live, outcome: Outcome) -> None:
        if not result.broken:
            story.ended = "complete"
            return await story.exchange.finish()
        story.ended = "broken"
        story.detail = outcome.facts.error_message
        if not result.speaks:
            return None  # never finished, hence aborted: the client must not take it for whole
        if outcome.facts.failure is not Failure.ERROR_EVENT:
            message = f"The upstream's answer broke off ({outcome.reason}). Please send it again."
            dialect = self._dialects[story.route.dialect]
            await story.exchange.send(dialect.broken(message, code="upstream_stream_broken"))
        return await story.exchange.finish()

    # -- the local tier ----------------------------------------------------------------------

    async def _answer_locally(
        self, story: Story, body: bytes | AsyncIterable[bytes], skipped: str | None
    ) -> FallbackError | None:
        """None once the client has its answer, else why there is none."""
        assert isinstance(body, bytes), "only whole bodies are planned for the local tier"
        dialect = self._dialects[story.route.dialect]
        provenance = self._provenance(story, "local", skipped or _last_reason(story))
        try:
            plain = self._decoded(story, body)
            answer = await self._local.answer(story.route.operation, dialect, plain, provenance)
        except FallbackError as error:
            return error
        headers = [*answer.headers, *told.headers(answer.provenance, proxy=self._settings.proxy)]
        story.provenance = answer.provenance
        story.status = 200
        if isinstance(answer, StreamedAnswer):
            await self._stream_locally(story, answer, headers)
            return None
        headers.append((b"content-length", str(len(answer.body)).encode()))
        await story.exchange.start(200, headers)
        await story.exchange.finish(answer.body)
        story.ended = "complete"
        return None

    async def _stream_locally(self, story: Story, answer: StreamedAnswer, headers: Headers) -> None:
        try:
            await story.exchange.start(200, headers)
            failure = await answer.deliver(story.exchange.send)
        finally:
            story.ended = "complete" if answer.whole else story.ended
            await answer.aclose()
        await story.exchange.finish()
        story.ended = "complete" if failure is None else "broken"
        story.detail = failure.message if failure else None

    def _decoded(self, story: Story, body: bytes) -> bytes:
        coding = find(story.exchange.headers, b"content-encoding")
        if coding is None:
            return body
        try:
            return decode(body, coding.decode("latin-1"), limit_bytes=self._settings.max_body_bytes)
        except DecodingError as error:
            raise BadRequest(f"The request's body cannot be decoded: {error}.") from error

    # -- when nobody can answer --------------------------------------------------------------

    async def _refuse(self, story: Story, error: FallbackError) -> None:
        provenance = self._provenance(story, "none", error.code.replace("_", "-"))
        dialect = self._dialects[story.route.dialect]
        extra = {"provenance": told.body(provenance)}
        body = dialect.error_body(error.status, error.message, code=error.code, extra=extra)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *told.headers(provenance, proxy=self._settings.proxy),
        ]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
        if error.should_retry is not None:
            headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
        story.provenance, story.status, story.detail = provenance, error.status, error.message
        await story.exchange.start(error.status, headers)
        await story.exchange.finish(b"" if story.exchange.method == "HEAD" else body)
        story.ended = "complete"

    def _unavailable(self, story: Story) -> Unavailable:
        tried = _tried(story)
        if _is_embedding(story):
            return Unavailable(
                f"Embeddings come from the cloud alone, since vectors of two models cannot be "
                f"compared, and it does not answer: {tried}. Nothing was answered in its place.",
                should_retry=False,
            )
        return Unavailable(
            f"The cloud does not answer ({tried}), and no local tier may answer this request. "
            f"`fallback status` tells more.",
            retry_after_s=5,
        )

    # -- what is learned and told ------------------------------------------------------------

    def _learn(self, story: Story, outcome: Outcome) -> None:
        upstream = story.route.upstream
        story.attempts = (*story.attempts, Attempt(upstream=upstream, outcome=outcome))
        if outcome.weight == 0.0:
            return
        said = outcome.facts.error_message
        summary = f"{outcome.reason}: {said[:200]}" if said else outcome.reason
        if outcome.weight < 0 and story.route.operation not in INFERENCE:
            # Tokens are counted and models listed while no model answers.
            evidence = Evidence(source="request", weight=0.0, alive=True, summary=summary)
        else:
            evidence = Evidence(source="request", weight=outcome.weight, summary=summary)
        self._board.record(upstream, evidence, self._clock())
        story.canary = False

    def _provenance(self, story: Story, tier: str, reason: str) -> Provenance:
        upstream = story.route.upstream
        return Provenance(
            receipt=story.receipt,
            tier=tier,
            upstream=upstream,
            reason=reason,
            outage=self._board[upstream].view(self._clock()).outage,
            attempts=story.attempts,
        )

    def _close(self, story: Story) -> None:
        if story.canary:
            self._board[story.route.upstream].release_canary(story.started)
        exchange, route = story.exchange, story.route
        self._observe(
            FinishedRequest(
                provenance=story.provenance
                or Provenance(
                    receipt=story.receipt,
                    tier="cloud",
                    upstream=route.upstream,
                    reason=_last_reason(story),
                    attempts=story.attempts,
                ),
                method=exchange.method,
                path=exchange.path,
                dialect=route.dialect,
                operation=route.operation,
                status=story.status,
                ended=story.ended,
                started=story.started,
                duration_s=self._clock() - story.started,
                detail=story.detail,
            )
        )


def _is_embedding(story: Story) -> bool:
    return story.route.operation == "embeddings"


def _last_reason(story: Story) -> str:
    return story.attempts[-1].outcome.reason if story.attempts else "client-gone"


def _tried(story: Story) -> str:
    if not story.attempts:
        return "it was not asked, being down"
    last = story.attempts[-1]
    said = last.outcome.facts.error_message
    return f"{last.upstream}: {last.outcome.reason}" + (f", {said}" if said else "")
