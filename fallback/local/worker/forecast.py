"""How long a newcomer would wait, as an honest guess. Pure.

The guess plays the scheduler's own rules forward: prompts are read one after the other, then
all that run decode together; who ends makes room for who is first in line. An answer is taken
to have as many more tokens as answers usually have, or as its limit leaves: lengths forget how
long they have lasted, as far as anyone knows. Who comes later is not foreseen.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

from fallback.local.worker.fair_shares import Account
from fallback.local.worker.layout import Layout
from fallback.local.worker.queueing import Sequence, slots_held, turns, victims
from fallback.local.worker.speed import Speed

# Speeds are known to about a fifth (measured: step times scatter by 15 %). A job is refused or
# given up only if it would be late even then.
_SURE: Final = 0.8
_OUTPUT_TOKENS: Final = 128.0
_OUTPUT_WEIGHT: Final = 0.1


class Forecast:
    """Of an engine whose context is laid out so. Learns how long answers are."""

    def __init__(self, layout: Layout, speed: Speed) -> None:
        self._layout = layout
        self._speed = speed
        self._output_tokens = _OUTPUT_TOKENS

    def __repr__(self) -> str:
        return f"<Forecast output_tokens={self._output_tokens:.0f} {self._speed!r}>"

    def answered(self, output_tokens: int) -> None:
        """An answer had so many tokens."""
        self._output_tokens += _OUTPUT_WEIGHT * (output_tokens - self._output_tokens)

    def read_s(self, sequence: Sequence) -> float:
        """Seconds until its first token, if it goes first. What it had computed when it was
        preempted is taken to be kept."""
        start = sequence.computed
        if not start and not sequence.running:
            start = min(sequence.job.cached_tokens, sequence.known - 1)
        return self._speed.prefill_s(sequence.known - start, start)

    def rest_tokens(self, sequence: Sequence) -> float:
        """How many tokens of output it will still have."""
        return min(sequence.left, self._output_tokens)

    def step_s(self, sequences: Iterable[Sequence]) -> float:
        """Seconds of a step in which all of these decode."""
        depths = [sequence.known for sequence in sequences]
        return self._speed.decode_s(len(depths), sum(depths) / len(depths))

    def cost_s(self, sequence: Sequence) -> float:
        """Seconds that the model will work for it: its prompt, and its part of full steps."""
        slots = self._layout.slots
        step_s = self._speed.decode_s(slots, sequence.known) / slots
        return self.read_s(sequence) + self.rest_tokens(sequence) * step_s

    def too_late(self, sequence: Sequence, now: float, wait_s: float = 0.0) -> bool:
        """Whether its first token is sure to come too late after such a wait."""
        by_s = sequence.job.start_by_s
        if by_s is None or sequence.begun:
            return False
        return now + _SURE * (wait_s + self.read_s(sequence)) > by_s

    def wait_s(
        self,
        newcomer: Sequence,
        running: Iterable[Sequence],
        waiting: Iterable[Sequence],
        now: float,
    ) -> float:
        """Seconds until the model would begin with the newcomer."""
        course = _Course(self, self._layout)
        for sequence in running:
            if sequence.level >= newcomer.level:
                course.start(sequence)
        line = [newcomer, *(s for s in waiting if s.level >= newcomer.level)]
        while (first := course.first(line)) is not newcomer:
            line.remove(first)
            if not self.too_late(first, now, course.clock_s):
                line += course.make_room(first)
                course.start(first)
        course.make_room(newcomer)
        return course.clock_s + course.read_before_s(newcomer)


class _Course:
    """What runs, played forward from now: `clock_s` is how far."""

    def __init__(self, forecast: Forecast, layout: Layout) -> None:
        self._forecast = forecast
        self._layout = layout
        self._rest_tokens: dict[Sequence, float] = {}
        self._unread_s: dict[Sequence, float] = {}
        self._due_s: dict[Sequence, float] = {}
        self._had_s: dict[Account, float] = {}
        self.clock_s = 0.0

    def first(self, line: list[Sequence]) -> Sequence:
        """Who goes in next."""
        return min(line, key=turns(line, self._due, slots_held(self._rest_tokens)))

    def start(self, sequence: Sequence) -> None:
        had_s = self._had_s.get(sequence.account, sequence.account.had_s)
        self._due_s[sequence] = self._due(sequence)
        self._had_s[sequence.account] = had_s + self._forecast.cost_s(sequence)
        self._rest_tokens[sequence] = self._forecast.rest_tokens(sequence)
        if sequence.state != "decoding":
            self._unread_s[sequence] = self._forecast.read_s(sequence)

    def make_room(self, sequence: Sequence) -> list[Sequence]:
        """Go on until there is room for it; whom it displaced."""
        while (displaced := self._victims(sequence)) is None:
            self._go_on()
        for victim in displaced:
            self._stop(victim)
        return displaced

    def read_before_s(self, sequence: Sequence) -> float:
        """Seconds to read the prompts that go before this one's."""
        place = (-sequence.level, self._due(sequence))
        before = [s for s in self._unread_s if (-s.level, self._due_s[s]) < place]
        return sum(self._unread_s[s] for s in before)

    def _due(self, sequence: Sequence) -> float:
        if sequence.running:
            return sequence.due_s
        return self._had_s.get(sequence.account, sequence.account.had_s) + sequence.rest_s

    def _victims(self, sequence: Sequence) -> list[Sequence] | None:
        return victims(sequence, self._rest_tokens, self._layout, now=math.inf)

    def _go_on(self) -> None:
        """Until the next answer ends."""
        self.clock_s += sum(self._unread_s.values())
        self._unread_s.clear()
        steps = min(self._rest_tokens.values())
        self.clock_s += steps * self._forecast.step_s(self._rest_tokens)
        self._rest_tokens = {s: n - steps for s, n in self._rest_tokens.items()}
        for ended in [s for s, n in self._rest_tokens.items() if n <= 0]:
            self._stop(ended)

    def _stop(self, sequence: Sequence) -> None:
        del self._rest_tokens[sequence]
        self._unread_s.pop(sequence, None)
