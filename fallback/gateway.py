"""The story of one request, top to bottom. Read this first.

1. The router tells which upstream, dialect and operation the request means; a peek at the body,
   which model.
2. Rules and health give the plan: which tiers, in which order, how long each may take.
3. The cloud tier makes an attempt. Until its answer is committed the client has seen nothing,
   so what fails costs it only time: the next tier answers. What is late is raced by the next
   tier, and the first to commit wins.
4. The alternate tier asks another upstream; the local tier decodes the request, lets the engine
   answer and encodes its events.
5. `delivery` sends the answer, and goes on with a stream that breaks.
6. Each attempt's outcome is folded into what is known; each answer says where it came from.
   When it has ended, one frozen record goes to the observers.

Every path through `handle` sends exactly one answer, or aborts the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import msgspec

from fallback.core import provenance as told
from fallback.core.errors import FallbackError
from fallback.core.passed import Passed
from fallback.core.patience import patience_s
from fallback.core.plan import Step, plan
from fallback.core.record import Books, FinishedRequest, Seen
from fallback.core.routing import INFERENCE, Router
from fallback.core.rules import RequestFacts, Rules
from fallback.core.stale import key_of, window_s
from fallback.dialects.base import Dialect
from fallback.dialects.peek import peek
from fallback.handling.delivery import Delivery
from fallback.handling.knowledge import Knowledge
from fallback.handling.passing import passed_on
from fallback.handling.refusal import refusal
from fallback.handling.story import Answer, Exchange, Story
from fallback.handling.turn import Turn
from fallback.handling.vigil import Vigil, Waiter
from fallback.handling.witness import Witness
from fallback.tiers.alternate import AlternateTier
from fallback.tiers.cloud import CloudTier
from fallback.tiers.local import LocalTier, StreamedAnswer
from fallback.tiers.race import Race
from fallback.tiers.stale import StaleTier
from fallback.upstream.attempt import Attempt
from fallback.upstream.live import Live


class GatewaySettings(msgspec.Struct, frozen=True, kw_only=True):
    """`local`: a model on this machine may answer. `alternates`: upstream -> those that may
    stand in for it, in order."""

    max_body_bytes: int
    local: bool
    alternates: Mapping[str, tuple[str, ...]] = {}


class Gateway:
    """Answers requests. `token` gives a fresh random string; `clock` Unix time in seconds.
    `passing` hears of the requests that tell of a live conversation; `books` keeps receipts,
    `stale` answers."""

    def __init__(
        self,
        settings: GatewaySettings,
        router: Router,
        rules: Rules,
        knowledge: Knowledge,
        vigil: Vigil,
        cloud: CloudTier,
        alternate: AlternateTier,
        local: LocalTier,
        delivery: Delivery,
        dialects: Mapping[str, Dialect],
        *,
        clock: Callable[[], float],
        token: Callable[[], str],
        observe: Callable[[FinishedRequest], None],
        passing: Callable[[Passed], None] | None = None,
        books: Books | None = None,
        stale: StaleTier | None = None,
    ) -> None:
        self._settings = settings
        self._router = router
        self._rules = rules
        self._knowledge = knowledge
        self._vigil = vigil
        self._cloud = cloud
        self._alternate = alternate
        self._local = local
        self._delivery = delivery
        self._dialects = dialects
        self._clock = clock
        self._token = token
        self._observe = observe
        self._passing = passing
        self._books = books
        self._stale = stale

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request. Cancel it when the client leaves: everything it held is freed."""
        witness = None
        if self._books is not None or self._stale is not None:
            exchange = witness = Witness(exchange)
        headers = dict(exchange.headers)
        route = self._router.route(exchange.method, exchange.path, headers)
        story = Story(exchange, headers, route, f"rcp_{self._token()}", self._clock())
        if self._books is not None:
            self._books.begun(story.receipt, story.started, exchange.method, exchange.path)
        try:
            await self._answer(story)
        finally:
            for admission in (story.admission, *story.leases):
                self._knowledge.release(admission)
            record = story.record(self._clock())
            self._observe(record)
            if witness is not None:
                self._keep(story, record, witness.seen(headers, story.case.credential))

    def _keep(self, story: Story, record: FinishedRequest, seen: Seen) -> None:
        """Put on record what passed, and an answer that may stand in for a later one."""
        if self._books is not None:
            self._books.finished(record, seen, keep_bodies=story.treatment.keep_bodies)
        if self._stale is None or story.stale_key is None or seen.answer is None:
            return
        if (record.provenance.tier, record.ended, record.status) == ("cloud", "complete", 200):
            self._stale.keep(story.stale_key, story.receipt, seen.answer_type, seen.answer)

    async def _answer(self, story: Story) -> None:
        story.body = await story.exchange.body(self._settings.max_body_bytes)
        try:
            self._decide(story)
            answer = await self._commit(story, story.plan.steps)
        except FallbackError as error:
            return await self._delivery.refuse(story, error)
        answer = answer or story.spare
        if answer is None:
            return await self._delivery.refuse(story, refusal(story))
        if self._passing is not None:
            # When this task first waits, which it does with the answer's beginning under way.
            asyncio.get_running_loop().call_soon(self._tell_passing, story, answer)
        return await self._delivery.send(story, answer)

    def _tell_passing(self, story: Story, answer: Answer) -> None:
        if self._passing is not None and (request := passed_on(story, answer)) is not None:
            self._passing(request)

    def _decide(self, story: Story) -> None:
        """What is asked for, how the rules treat it, and which tiers may answer it."""
        route, headers = story.route, story.headers
        if isinstance(story.body, bytes) and route.operation in INFERENCE:
            story.peek = peek(story.body)
        story.treatment = self._rules.treat(
            RequestFacts(
                path=route.path,
                operation=route.operation,
                headers=headers,
                model=story.peek.model,
                user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
            )
        )
        story.patience_s = patience_s(headers)
        story.deadlines = story.treatment.deadlines.within(story.patience_s)
        story.case = self._knowledge.case(story, route.upstream)
        if "cloud" in story.treatment.tiers:
            story.admission = self._knowledge.admit(story.case)
        story.outage = story.admission.outage
        self._look_for_stale(story)
        story.plan = plan(
            story.treatment,
            route.operation,
            story.admission,
            local=self._settings.local and isinstance(story.body, bytes),
            stale=story.stale_key is not None,
            alternates=self._settings.alternates.get(route.upstream, ()),
        )

    def _look_for_stale(self, story: Story) -> None:
        """Whether an earlier answer would do, and which."""
        treatment = story.treatment
        if self._stale is None or story.route.operation != "generate":
            return
        story.stale_s = window_s(story.headers, treatment.stale_if_error_s)
        if story.stale_s and isinstance(story.body, bytes):
            story.stale_key = key_of(
                story.route.dialect,
                story.case.credential,
                self._delivery.plain_body(story),
                with_tools=treatment.stale_with_tools,
            )

    # -- one tier after the other, or beside it ----------------------------------------------

    async def _commit(
        self, story: Story, steps: tuple[Step, ...], *, racing: bool = False
    ) -> Answer | None:
        """The first good answer of these tiers; nothing of it is sent yet."""
        for at, step in enumerate(steps):
            if step.tier == "local":
                answer = await self._locally(story, racing=racing)
            elif step.tier == "stale":
                answer = await self._again(story)
            else:
                turn = Turn(self._maker(story, step), self._knowledge, story, step)
                if turn.admission.kind == "closed":
                    continue
                rest = steps[at + 1 :]
                answer, exhausted = await self._turn(story, turn, rest)
                if exhausted:
                    return answer
            if answer is not None:
                return answer
        return None

    async def _turn(
        self, story: Story, turn: Turn, rest: tuple[Step, ...]
    ) -> tuple[Answer | None, bool]:
        """As of `_raced`, where there is somebody to race against."""
        try:
            if not rest:
                return await turn.run(), True
            return await self._raced(story, turn, rest)
        except asyncio.CancelledError:
            turn.leave(self._knowledge.limit_s(story))
            raise

    async def _raced(
        self, story: Story, turn: Turn, rest: tuple[Step, ...]
    ) -> tuple[Answer | None, bool]:
        """An upstream's answer, or one of the next tiers' if it is late; and whether those had
        their turn."""
        waits = self._knowledge.waits(story, turn.case, turn.admission)
        race = Race(
            turn.run,
            lambda: self._beside(story, turn, rest),
            discard=_discard,
            start_after_s=waits.start_s,
            more_s=lambda: waits.more_s if turn.answered else 0.0,
            win_after_s=waits.win_s,
        )
        waiter = Waiter(turn.case, race, lambda: turn.answered)
        self._vigil.begin(waiter)
        try:
            answer, other = await race.run()
        finally:
            self._vigil.end(waiter)
            story.pending = ()
        if other is not None:
            turn.lose()
        return answer or other, race.second_started

    async def _beside(self, story: Story, turn: Turn, rest: tuple[Step, ...]) -> Answer | None:
        if turn.admission.kind != "canary" and not turn.over:
            story.pending = (told.Attempt(upstream=turn.case.upstream, outcome=turn.so_far()),)
        return await self._commit(story, rest, racing=True)

    def _maker(self, story: Story, step: Step) -> Callable[[], Attempt]:
        exchange = story.exchange
        if step.tier == "alternate":
            return lambda: self._alternate.prepare(
                step.upstream,
                story.route,
                exchange.query,
                exchange.headers,
                self._delivery.plain_body(story),
                story.deadlines,
                story.origin("alternate", upstream=step.upstream),
            )
        return lambda: self._cloud.prepare(
            story.route,
            exchange.method,
            exchange.query,
            exchange.headers,
            story.body,
            story.deadlines,
            streams=story.peek.stream,
        )

    async def _again(self, story: Story) -> Answer | None:
        """An earlier answer, where the cloud is not well: being late is no reason yet."""
        failed = any(each.outcome.next_tier for each in story.attempts)
        if self._stale is None or story.stale_key is None:
            return None
        if not failed and story.plan.skipped is None:
            return None
        origin = story.origin("stale")
        result = await self._stale.answer(story.stale_key, story.stale_s, origin)
        return None if result is None else Answer("stale", story.case, result)

    async def _locally(self, story: Story, *, racing: bool) -> Answer | None:
        """None where the local tier cannot answer; `story.refusal` says why."""
        try:
            result = await self._local.answer(
                story.route.operation,
                self._dialects[story.route.dialect],
                self._delivery.plain_body(story),
                story.origin("local"),
                story.terms,
            )
            if racing and isinstance(result, StreamedAnswer):
                await result.prime()
        except FallbackError as error:
            story.refusal = error
            return None
        return Answer("local", story.case, result)


async def _discard(answer: Answer) -> None:
    """Free what an answer holds that nobody will have."""
    if isinstance(answer.result, Live):
        answer.result.close()
    elif isinstance(answer.result, StreamedAnswer):
        await answer.result.aclose()
