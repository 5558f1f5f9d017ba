"""Sends requests as a rule allows, and tells it and the tally what became of them."""

from __future__ import annotations

from outage_sim.agenda import Agenda
from outage_sim.race import race
from outage_sim.rules.base import Rule, Ticket
from outage_sim.tally import USELESS_S, Tally
from outage_sim.traffic import BAD, POISON, Call
from outage_sim.world import FAMILIES, Fault, World, status

_REFUSED_KEY = status(401, "authentication_error")
_POISONED = status(500, "api_error")


class Try:
    """One attempt under way, and how it will end if nothing hurries it."""

    def __init__(self, call: Call, ticket: Ticket, met: Fault | float, sent_at: float) -> None:
        self.call = call
        self.ticket = ticket
        self.met = met
        self.sent_at = sent_at
        self.beside_from(ticket.hedge_s + (0.0 if self.is_silent else ticket.more_s))

    @property
    def is_silent(self) -> bool:
        """No head of an answer has come, nor will one."""
        return isinstance(self.met, Fault)

    @property
    def end(self) -> float:
        return self.sent_at + self.facts.duration_s

    def beside_from(self, hedge_s: float) -> None:
        """The local tier starts so many seconds after it."""
        self.hedge_s = hedge_s
        self.facts, self.delay_s = race(self.met, hedge_s=hedge_s, grace_s=self.ticket.grace_s)


class Desk:
    """`answer` takes the requests in order of time, `catch_up` lets happen what came before."""

    def __init__(self, world: World, agenda: Agenda, rule: Rule, tally: Tally) -> None:
        self._world = world
        self._agenda = agenda
        self._rule = rule
        self._tally = tally
        self._tries: dict[Try, None] = {}
        self._closed: tuple[str, ...] = ()

    def answer(self, call: Call) -> None:
        ticket = self._rule.admit(call, call.at)
        self._watch(call.at)
        if ticket is None:
            self._tally.kept(call.family, call.at)
        else:
            self._send(call, ticket, call.at)

    def catch_up(self, now: float) -> None:
        while (instant := self._agenda.next_at) <= now:
            self._agenda.run(instant)
            self._watch(instant)

    def finish(self) -> None:
        """Let all that is under way end."""
        while self._tries:
            self.catch_up(self._agenda.next_at)

    def begins(self, number: int, now: float) -> None:
        self._watch(now)
        self._tally.begins(number, self._closed)

    def ends(self, number: int, now: float) -> None:
        self._watch(now)
        self._tally.ends(number, self._closed)

    def _watch(self, now: float) -> None:
        closed = tuple(family for family in FAMILIES if self._rule.closed(family, now))
        if closed != self._closed:
            self._tally.turned(closed, now)
            self._hurry(closed, now)
            self._closed = closed

    def _hurry(self, families: tuple[str, ...], now: float) -> None:
        """Who waits in silence for what is down need not wait for more."""
        for attempt in self._tries:
            waiting = attempt.ticket.hurries and attempt.is_silent
            waited_s = now - attempt.sent_at
            if waiting and attempt.call.family in families and waited_s < attempt.hedge_s:
                attempt.beside_from(waited_s)
                self._expect(attempt)

    def _send(self, call: Call, ticket: Ticket, now: float) -> None:
        met = self._world.condition(call.family, now).meets(call.chance, call.normal)
        if not isinstance(met, Fault):
            met = _of_its_own(call) or met
        attempt = Try(call, ticket, met, now)
        self._tries[attempt] = None
        self._expect(attempt)
        if attempt.is_silent and attempt.end > now + ticket.look_s:
            self._agenda.at(now + ticket.look_s, lambda then: self._look(attempt, then))

    def _expect(self, attempt: Try) -> None:
        self._agenda.at(attempt.end, lambda now: self._ended(attempt, now))

    def _look(self, attempt: Try, now: float) -> None:
        if attempt in self._tries:
            self._rule.look(now)

    def _ended(self, attempt: Try, now: float) -> None:
        if attempt not in self._tries or attempt.end != now:
            return  # it was hurried, and ended sooner
        del self._tries[attempt]
        call, facts = attempt.call, attempt.facts
        self._tell(attempt)
        if call.at == attempt.sent_at and self._rule.retries(call, facts, now):
            self._send(call._replace(chance=call.chance * 7919 % 1), attempt.ticket, now)
        else:
            self._rule.learn(call, attempt.ticket, facts, now)

    def _tell(self, attempt: Try) -> None:
        family, asked_at = attempt.call.family, attempt.call.at
        met = attempt.met
        useless = isinstance(met, Fault) or met > USELESS_S
        delay_s = attempt.sent_at - asked_at + attempt.delay_s
        self._tally.sent(family, asked_at, useless=useless, delay_s=delay_s)
        if attempt.facts.status == 200 and attempt.facts.failure is None:
            self._tally.served(family, attempt.sent_at)


def _of_its_own(call: Call) -> Fault | None:
    """What a request meets that nobody else does."""
    if call.credential == BAD:
        return _REFUSED_KEY
    return _POISONED if call.body == POISON else None
