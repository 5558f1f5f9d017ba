"""What a rule cost its users in one episode, measured against the truth.

- `detected_s`: from an outage's start until requests for it are kept from the upstream; None
  where they never were.
- `returned_s`: from the first request for it after its end until one that the upstream serves,
  zero where they are the same; None where the rule was not closed at that end, so that there was
  nothing to return from.
- `vain`: requests in an outage whose first content came more than `VAIN_S` later than the local
  tier alone would have given it; `longest_s` is the worst of these delays, and of those that an
  attempt caused which was of no use.
- `attempts`: requests sent into an outage that met a fault, or no content within `USELESS_S`.
  Retries and canaries count; free probes do not.
- `away`: requests answered locally while the upstream was well for them.
- `false_downs`: closings for a family that has no outage, nor had one within the last second, or
  has one that is nobody's.
"""

from __future__ import annotations

from collections.abc import Collection

from outage_sim.shapes import Outage

VAIN_S = 2.0
USELESS_S = 10.0
_LATE_S = 1.0


class Tally:
    """Of one rule in one episode. `asked_again` tells for each outage when the first request for
    it comes after its end (infinity: none does)."""

    def __init__(self, outages: tuple[Outage, ...], asked_again: tuple[float, ...]) -> None:
        self._outages = outages
        self._asked_again = asked_again
        self._last = max((outage.end for outage in outages), default=float("-inf"))
        self._closed: Collection[str] = ()
        self._awaited: set[int] = set()
        self.detected_s: list[float | None] = [None] * len(outages)
        self.returned_s: list[float | None] = [None] * len(outages)
        self.vain = 0
        self.longest_s = 0.0
        self.attempts = 0
        self.away = 0
        self.false_downs = 0

    def outage_at(self, family: str, now: float) -> int | None:
        if now >= self._last:
            return None
        for number, outage in enumerate(self._outages):
            if outage.start <= now < outage.end and family in outage.families:
                return number
        return None

    def begins(self, number: int, closed: Collection[str]) -> None:
        """That outage starts, while the rule is closed for these families."""
        if not self._outages[number].families.isdisjoint(closed):
            self.detected_s[number] = 0.0

    def ends(self, number: int, closed: Collection[str]) -> None:
        """Likewise for its end."""
        if not self._outages[number].families.isdisjoint(closed):
            self._awaited.add(number)

    def turned(self, closed: Collection[str], now: float) -> None:
        """The rule turned: from now on it is closed for these families."""
        fresh = [family for family in closed if family not in self._closed]
        self.false_downs += any(self._is_false(family, now) for family in fresh)
        self._closed = closed
        for family in fresh:
            number = self.outage_at(family, now)
            if number is not None and self.detected_s[number] is None:
                self.detected_s[number] = now - self._outages[number].start

    def _is_false(self, family: str, now: float) -> bool:
        number = self.outage_at(family, now)
        if number is None:
            number = self.outage_at(family, now - _LATE_S)
        return number is None or self._outages[number].blame == "nobody"

    def kept(self, family: str, now: float) -> None:
        """A request was answered locally, at once."""
        self.away += self.outage_at(family, now) is None

    def sent(self, family: str, now: float, *, useless: bool, delay_s: float) -> None:
        """A request was sent; its content came `delay_s` later than it might have."""
        if self.outage_at(family, now) is None:
            return
        self.attempts += useless
        self.vain += delay_s > VAIN_S
        if useless or delay_s > VAIN_S:
            self.longest_s = max(self.longest_s, delay_s)

    def served(self, family: str, now: float) -> None:
        """The upstream serves the request that came at `now`."""
        for number in tuple(self._awaited):
            if self._asked_again[number] <= now and family in self._outages[number].families:
                self.returned_s[number] = now - self._asked_again[number]
                self._awaited.discard(number)

    @property
    def is_back(self) -> bool:
        """Nothing is closed, and no return is awaited."""
        return not self._closed and not self._awaited

    def close(self, now: float) -> None:
        """The episode is over: who has not returned took at least so long."""
        for number in self._awaited:
            self.returned_s[number] = max(0.0, now - self._asked_again[number])
