"""How often a well upstream is called down: days of traffic with errors that mean nothing.

Requests come regularly, for one model, and their outcome is known at once. Failures are drawn
first; the successes between them are played one by one until the rule would only count them,
and then counted at once, which is exact.
"""

from __future__ import annotations

import math
from random import Random

import msgspec
import numpy as np

from fallback.core.outcome import AttemptFacts
from outage_sim.agenda import Agenda
from outage_sim.episode import Build
from outage_sim.rules.base import Rule
from outage_sim.traffic import GOOD, Call
from outage_sim.world import FAMILIES, World, overloaded, reset, status

_DAY_S = 86_400.0
_CHUNK = 1_000_000
_FAMILY = FAMILIES[0]
_SUCCESS = AttemptFacts(phase="done", status=200, duration_s=0.8)
_FAILURES = tuple(f.facts for f in (status(500), status(503), overloaded(), reset()))


class Falsehood(msgspec.Struct, frozen=True, kw_only=True):
    """`downs` in `days`; `most_a_day` is the 95 % upper limit of the rate."""

    days: float
    downs: int

    @property
    def most_a_day(self) -> float:
        return poisson_limit(self.downs) / self.days


def poisson_limit(count: int) -> float:
    """The mean that gives so few events with a chance of 5 %.

    Source: half the 95 % point of chi-squared with 2 (count + 1) degrees of freedom, by the
    cube-root approximation of Wilson and Hilferty (1931); 1 % too low at zero.
    """
    half = count + 1
    root = 1.0 - 1.0 / (9.0 * half) + 1.645 / (3.0 * math.sqrt(half))
    return half * root**3


def false_downs(build: Build, *, rate: float, share: float, days: float, seed: int) -> Falsehood:
    """`rate` requests a second, of which an independent `share` fails."""
    agenda = Agenda()
    rule = build(agenda, World(()), Random(seed), 0.0)
    traffic = _Traffic(rule, agenda, rate)
    random = np.random.default_rng(seed)
    last = int(days * _DAY_S * rate)
    at = 0
    while at < last:
        gaps = random.geometric(share, size=min(_CHUNK, max(1, int(last * share))))
        kinds = random.integers(len(_FAILURES), size=len(gaps))
        for gap, kind in zip(gaps.tolist(), kinds.tolist(), strict=True):
            traffic.succeed(at, min(last, at + gap - 1))
            at += gap
            if at > last:
                break
            traffic.one(at - 1, _FAILURES[kind])
    return Falsehood(days=days, downs=traffic.downs)


class _Traffic:
    """Request number n comes at n / rate."""

    def __init__(self, rule: Rule, agenda: Agenda, rate: float) -> None:
        self._rule = rule
        self._agenda = agenda
        self._rate = rate
        self._closed = False
        self.downs = 0

    def one(self, number: int, facts: AttemptFacts) -> None:
        now = number / self._rate
        self._agenda.run(now)
        call = _call(number, now)
        ticket = self._rule.admit(call, now)
        if ticket is not None:
            self._rule.learn(call, ticket, facts, now)
        closed = self._rule.closed(_FAMILY, now)
        self.downs += closed and not self._closed
        self._closed = closed

    def succeed(self, first: int, end: int) -> None:
        """The requests from `first` to before `end`."""
        for number in range(first, end):
            if self._is_idle(number):
                last = end - 1
                call = _call(last, last / self._rate)
                return self._rule.count(call, end - number, call.at)
            self.one(number, _SUCCESS)
        return None

    def _is_idle(self, number: int) -> bool:
        now = number / self._rate
        return self._agenda.next_at == math.inf and self._rule.idle(_call(number, now), now)


def _call(number: int, now: float) -> Call:
    return Call(now, _FAMILY, GOOD, str(number), 0.0, 0.0)
