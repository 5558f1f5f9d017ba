"""Ours: what serves, with sockets and tasks left out.

Admission, hedging, retries and what is learned are `fallback.handling.knowledge` over
`fallback.core`, the judgement of ladders is `fallback.core.diagnosis`. Only the prober's rhythm
is told again here: a look at the first suspicion and at a long silence, then by the board's own
delay.
"""

from __future__ import annotations

import math
from random import Random

from fallback.core.diagnosis import Subject, diagnose
from fallback.core.health import (
    NETWORK,
    Board,
    Case,
    Change,
    Evidence,
    HealthSettings,
    Scope,
    State,
    model_scope,
    upstream_scope,
)
from fallback.core.hedging import HedgeSettings
from fallback.core.latency import Baselines
from fallback.core.outcome import AttemptFacts, Failure, classify
from fallback.core.plan import plan
from fallback.core.provenance import Headers
from fallback.core.routing import Route
from fallback.core.rungs import Rung
from fallback.dialects.peek import Peek
from fallback.handling.knowledge import Knowledge
from fallback.handling.story import Story
from outage_sim.agenda import Agenda
from outage_sim.rules.base import Ticket
from outage_sim.traffic import Call
from outage_sim.world import FAMILIES, Condition, Fault, World

_UPSTREAM = "cloud"
_ROUTE = Route(upstream=_UPSTREAM, path="/v1/messages", operation="generate", dialect="anthropic")
_HOST, _WITNESS = "api.cloud.example", "control.example"
_LOOK_S = 0.2  # a ladder that finds everything in place
_LOOK_LIMIT_S = 4.0
_GAP_S = 1.0
_LOOK_AFTER_S = 4.0
_UNWELL = (State.SUSPECT, State.DOWN)
_CLOSED = (State.DOWN, State.RECOVERING)
_CONCERNED = {
    family: (NETWORK, upstream_scope(_UPSTREAM), model_scope(_UPSTREAM, family))
    for family in FAMILIES
}


class Fallback:
    name = "fallback"

    def __init__(self, agenda: Agenda, world: World, random: Random, *, started: float) -> None:
        self._agenda = agenda
        self._world = world
        self._random = random
        self._now = started
        self._board = Board([_UPSTREAM], HealthSettings(), now=started, on_change=self._changed)
        self._knowledge = Knowledge(
            self._board, Baselines(), HedgeSettings(), [_UPSTREAM], clock=lambda: self._now
        )
        self._stories = {family: _story(family, started) for family in FAMILIES}
        self._shut: set[Scope] = set()
        self._watching = self._looking = False
        self._looked_at = self._look_ends = -math.inf
        self._named: set[str] = set()

    def admit(self, call: Call, now: float) -> Ticket | None:
        self._now = now
        case, story = _case(call), self._stories[call.family]
        admission = self._knowledge.admit(case)
        planned = plan(story.treatment, "generate", admission, local=True)
        if planned.steps[0].tier != "cloud":
            return None
        waits = self._knowledge.waits(story, case, admission)
        return Ticket(
            hedge_s=waits.start_s,
            more_s=waits.more_s,
            grace_s=waits.win_s,
            look_s=_LOOK_AFTER_S,
            hurries=True,
            admission=admission,
        )

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None:
        self._now = now
        story = self._stories[call.family]
        story.attempts, story.body = (), call.body.encode()
        committed_s = facts.duration_s if facts.failure is None else None
        self._knowledge.learn(story, _case(call), classify(facts), committed_s=committed_s)
        if ticket.admission is not None:
            self._knowledge.release(ticket.admission)

    def retries(self, call: Call, facts: AttemptFacts, now: float) -> bool:
        self._now = now
        outcome = classify(facts)
        if not self._knowledge.may_retry(_UPSTREAM, outcome):
            return False
        self._knowledge.retries(self._stories[call.family], _case(call), outcome)
        return True

    def closed(self, family: str, now: float) -> bool:
        return not self._shut.isdisjoint(_CONCERNED[family])

    def named(self) -> set[str]:
        return self._named

    def idle(self, call: Call, now: float) -> bool:
        return self._board.is_calm(_case(call))

    def count(self, call: Call, successes: int, now: float) -> None:
        self._board.count(_case(call), now, successes=successes)

    # -- the prober --------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Climb the ladder, unless somebody does or just did; what is found is known later."""
        if self._looking or now - self._looked_at < _GAP_S:
            return
        self._looking, self._looked_at = True, now
        condition = self._world.condition(FAMILIES[-1], now)
        took_s = _LOOK_S if condition.probe is None else min(_LOOK_LIMIT_S, condition.probe.after_s)
        evidence = climbed(condition)
        self._look_ends = now + took_s
        self._agenda.at(self._look_ends, lambda then: self._found(evidence, then))

    def _changed(self, change: Change) -> None:
        (self._shut.add if change.after in _CLOSED else self._shut.discard)(change.scope)
        if change.after is State.DOWN:
            self._named.add(str(change.scope))
        if change.scope.kind in ("upstream", "network") and not self._watching:
            self._watch(change.at)

    def _watch(self, now: float) -> None:
        """Look now, and again as the board says, as long as it is unwell."""
        self._watching = self._board.state(_UPSTREAM) in _UNWELL
        if self._watching:
            self.look(now)
            delay_s = self._board.probe_delay_s(_UPSTREAM, now, self._random.random())
            took_s = self._look_ends - now if self._looking else 0.0
            self._agenda.at(now + took_s + delay_s, self._watch)

    def _found(self, found: tuple[Evidence, ...], now: float) -> None:
        self._looking = False
        self._now = now
        for evidence in found:
            self._board.record(evidence, now)


class _Exchange:
    """A client without any wishes of its own."""

    method = "POST"
    path = "/v1/messages"
    query = b""
    headers: Headers = []  # noqa: RUF012 - nobody adds to it

    async def body(self, limit_bytes: int) -> bytes:
        return b""

    async def start(self, status: int, headers: Headers) -> None: ...

    async def send(self, chunk: bytes) -> None: ...

    async def finish(self, chunk: bytes = b"") -> None: ...


def _story(family: str, started: float) -> Story:
    """One stands for all requests of a family: nothing of it outlasts what is learned."""
    story = Story(_Exchange(), {}, _ROUTE, "rcp_simulated", started)
    story.peek = Peek(model=family, stream=True)
    return story


def _case(call: Call) -> Case:
    return Case(upstream=_UPSTREAM, family=call.family, credential=call.credential)


def climbed(condition: Condition) -> tuple[Evidence, ...]:
    """What the connectivity ladder finds under that condition."""
    climb = _rungs(_HOST, condition.probe)
    witness = _rungs(_WITNESS, None if condition.online else condition.probe)
    route = Rung(host=_HOST, step="route")
    return diagnose(Subject(upstream=_UPSTREAM, host=_HOST), route, climb, [witness]).evidence


def _rungs(host: str, fault: Fault | None) -> tuple[Rung, ...]:
    name = Rung(host=host, step="dns", addresses=("192.0.2.1",))
    tcp, tls = Rung(host=host, step="tcp"), Rung(host=host, step="tls")
    if fault is None:
        return (name, tcp, tls, Rung(host=host, step="answer", status=401))
    failure = fault.facts.failure
    if failure is Failure.DNS:
        return (Rung(host=host, step="dns", failure=failure),)
    if fault.facts.phase == "connect":
        return (name, Rung(host=host, step="tcp", failure=failure))
    answer = Rung(host=host, step="answer", failure=failure, status=fault.facts.status)
    return (name, tcp, tls, answer)
