"""From a committed answer to the client's last byte: headers, passing on, and what to do when a
stream breaks.

A broken stream is continued by the local tier in the same response, where the dialect and the
operator's rules allow it. Where not, the client gets the dialect's error event, or an aborted
connection: never an end that looks proper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from fallback.core import provenance as told
from fallback.core.errors import FallbackError
from fallback.core.outcome import Outcome, Verdict
from fallback.core.policy import Treatment
from fallback.core.provenance import Headers
from fallback.dialects.base import Dialect, Seam, Unsplicable
from fallback.handling.knowledge import Knowledge
from fallback.handling.story import Answer, Story
from fallback.tiers.local import LocalTier, StreamedAnswer
from fallback.upstream.attempt import Whole
from fallback.upstream.encoding import plain
from fallback.upstream.headers import content_coding, for_client, joined
from fallback.upstream.live import Live


class Delivery:
    """Sends answers. `proxy` is this deployment's name in `Via` and `Proxy-Status`."""

    def __init__(
        self,
        dialects: Mapping[str, Dialect],
        knowledge: Knowledge,
        local: LocalTier,
        *,
        proxy: str,
        max_body_bytes: int,
    ) -> None:
        self._dialects = dialects
        self._knowledge = knowledge
        self._local = local
        self._proxy = proxy
        self._max_body_bytes = max_body_bytes

    async def send(self, story: Story, answer: Answer) -> None:
        """The one answer of this request."""
        story.first_content_s = self._knowledge.now() - story.started
        result = answer.result
        if isinstance(result, Whole):
            await self._start(story, result.status, self._upstream_headers(story, answer, result))
            await self._end(story, result.body)
        elif isinstance(result, Live):
            await self._pass_on(story, answer, result)
        else:
            story.provenance = result.provenance
            headers = [*result.headers, *told.headers(result.provenance, proxy=self._proxy)]
            if isinstance(result, StreamedAnswer):
                await self._stream(story, result, headers)
            else:
                headers.append((b"content-length", str(len(result.body)).encode()))
                await self._start(story, 200, headers)
                await self._end(story, result.body)

    async def refuse(self, story: Story, error: FallbackError) -> None:
        """Nobody can answer: an error of ours, in the client's dialect."""
        provenance = story.origin("none", reason=error.code.replace("_", "-"))
        dialect = self._dialects[story.route.dialect]
        extra = {"provenance": told.body(provenance)}
        body = dialect.error_body(error.status, error.message, code=error.code, extra=extra)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *told.headers(provenance, proxy=self._proxy),
        ]
        if error.retry_after_s is not None:
            headers.append((b"retry-after", str(error.retry_after_s).encode()))
        if error.should_retry is not None:
            headers.append((b"x-should-retry", b"true" if error.should_retry else b"false"))
        story.provenance, story.detail = provenance, error.message
        await self._start(story, error.status, headers)
        await self._end(story, b"" if story.exchange.method == "HEAD" else body)

    def plain_body(self, story: Story) -> bytes:
        """The request's body without its content coding. Raises `BadRequest`."""
        assert isinstance(story.body, bytes), "only whole bodies are planned for other tiers"
        coding = content_coding(story.exchange.headers)
        return plain(story.body, coding, limit_bytes=self._max_body_bytes)

    async def _start(self, story: Story, status: int, headers: Headers) -> None:
        story.status = status
        await story.exchange.start(status, headers)

    async def _end(self, story: Story, chunk: bytes = b"") -> None:
        await story.exchange.finish(chunk)
        story.ended = "complete"

    # -- an upstream's answer ----------------------------------------------------------------

    def _upstream_headers(self, story: Story, answer: Answer, result: Whole | Live) -> Headers:
        headers = for_client(result.headers)
        if result.status in (401, 403):
            # Clients retry a bad key for minutes; nothing but the operator can mend it.
            headers = [pair for pair in headers if pair[0] != b"x-should-retry"]
            headers.append((b"x-should-retry", b"false"))
        if answer.tier == "cloud":
            existing = joined(result.headers, b"proxy-status")
            upstream, receipt = answer.case.upstream, story.receipt
            return headers + told.cloud_headers(
                upstream, result.status, receipt, existing, self._proxy
            )
        story.provenance = story.origin(answer.tier, upstream=answer.case.upstream)
        return headers + told.headers(story.provenance, proxy=self._proxy)

    async def _pass_on(self, story: Story, answer: Answer, live: Live) -> None:
        try:
            await self._start(story, live.status, self._upstream_headers(story, answer, live))
            outcome = await live.deliver(story.exchange.send)
        except asyncio.CancelledError:
            if (whole := live.whole) is not None:
                self._learn(story, answer, whole)
                story.ended = "complete"
            raise
        finally:
            live.close()
        self._learn(story, answer, outcome)
        if live.broken:
            await self._mend(story, answer, live, outcome)
        else:
            await self._end(story)

    def _learn(self, story: Story, answer: Answer, outcome: Outcome) -> None:
        self._knowledge.learn(story, answer.case, outcome, committed_s=answer.committed_s)

    # -- a stream that broke -----------------------------------------------------------------

    async def _mend(self, story: Story, answer: Answer, live: Live, outcome: Outcome) -> None:
        story.ended = "broken"
        story.detail = outcome.facts.error_message
        if not live.speaks:
            return  # never finished, hence aborted: the client must not take it for whole
        rest = await self._rest(story, answer, live, outcome)
        if isinstance(rest, StreamedAnswer):
            story.provenance = rest.provenance
            await self._deliver(story, rest)
            return
        message = f"The upstream's answer broke off ({outcome.reason}), and {rest}."
        dialect = self._dialects[story.route.dialect]
        error = dialect.broken(f"{message} Please send it again.", code="upstream_stream_broken")
        await story.exchange.send(live.said or error)
        await story.exchange.finish()

    async def _rest(
        self, story: Story, answer: Answer, live: Live, outcome: Outcome
    ) -> StreamedAnswer | str:
        """The rest of that answer from another tier, or why there is none."""
        if outcome.verdict is not Verdict.OUTAGE:
            return "it said so itself"
        if not any(step.tier == "local" for step in story.plan.steps):
            return story.treatment.local_reason or "no other tier may go on"
        if (sent := live.sent) is None:
            return "it is too long to go on with"
        dialect = self._dialects[story.route.dialect]
        seam = dialect.seam(sent)
        if isinstance(seam, Unsplicable):
            return seam.message
        if (why := _forbidden(seam, story.treatment)) is not None:
            return why
        try:
            return await self._local.go_on(
                dialect,
                self.plain_body(story),
                seam,
                story.origin(answer.tier, upstream=answer.case.upstream),
                story.terms,
            )
        except FallbackError as error:
            return f"the local tier cannot go on: {error.message.rstrip('.')}"

    # -- an answer that is made here ---------------------------------------------------------

    async def _stream(self, story: Story, answer: StreamedAnswer, headers: Headers) -> None:
        try:
            await self._start(story, 200, headers)
        except BaseException:
            await answer.aclose()
            raise
        await self._deliver(story, answer)

    async def _deliver(self, story: Story, answer: StreamedAnswer) -> None:
        try:
            failure = await answer.deliver(story.exchange.send)
        finally:
            story.ended = "complete" if answer.whole else story.ended
            await answer.aclose()
        await story.exchange.finish()
        story.ended = "complete" if failure is None else "broken"
        story.detail = failure.message if failure else None


def _forbidden(seam: Seam, treatment: Treatment) -> str | None:
    """Why the operator's rules do not let another tier go on."""
    if seam.open_tool_call and treatment.splice_tool_call == "error":
        return "it broke off inside a tool call, which is not continued (splice_tool_call)"
    if seam.signed_thinking and treatment.splice_thinking == "error":
        return "it holds signed thinking, which is not continued (splice_thinking)"
    return None
