"""What a rule is: it lets a request pass or not, and hears what became of it."""

from __future__ import annotations

import math
from typing import Protocol

import msgspec

from fallback.core.health import Admission
from fallback.core.outcome import AttemptFacts
from outage_sim.traffic import Call


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """The leave to try the cloud. `hedge_s` seconds later the local tier starts beside it, or
    `more_s` later than that if the answer has begun, and may win from `grace_s` on. After
    `look_s` of silence somebody looks; `hurries`: bad news about the upstream starts it at once.
    """

    hedge_s: float = math.inf
    more_s: float = 0.0
    grace_s: float = 0.0
    look_s: float = math.inf
    hurries: bool = False
    admission: Admission | None = None


OPEN = Ticket()


class Rule(Protocol):
    """Time never goes back. What a rule calls a failure is its own affair: `learn` gets the bare
    facts of every attempt, when they are known."""

    name: str

    def admit(self, call: Call, now: float) -> Ticket | None:
        """None: this request is answered locally, at once."""
        ...

    def learn(self, call: Call, ticket: Ticket, facts: AttemptFacts, now: float) -> None: ...

    def retries(self, call: Call, facts: AttemptFacts, now: float) -> bool:
        """Whether that failure is tried once more at once, instead of being learned."""
        ...

    def look(self, now: float) -> None:
        """A request has been without an answer for long."""
        ...

    def closed(self, family: str, now: float) -> bool:
        """Whether requests for that family are kept from the upstream, but for a trial."""
        ...

    def named(self) -> set[str]:
        """The scopes that were ever called down; empty where the rule knows no scopes."""
        ...

    def idle(self, call: Call, now: float) -> bool:
        """Whether successes of such requests would only be counted."""
        ...

    def count(self, call: Call, successes: int, now: float) -> None:
        """While idle: so many such requests succeeded, the last one now."""
        ...


class Peer:
    """What those have in common that are circuit breakers only: no hedging, no retry."""

    def retries(self, call: Call, facts: AttemptFacts, now: float) -> bool:
        return False

    def look(self, now: float) -> None: ...

    def named(self) -> set[str]:
        return set()

    def idle(self, call: Call, now: float) -> bool:
        return False

    def count(self, call: Call, successes: int, now: float) -> None: ...


def succeeded(facts: AttemptFacts) -> bool:
    return facts.failure is None and (facts.status or 0) < 400


def is_server_error(facts: AttemptFacts) -> bool:
    """No HTTP answer at all, or one from 500 up."""
    return facts.failure is not None or (facts.status or 0) >= 500
