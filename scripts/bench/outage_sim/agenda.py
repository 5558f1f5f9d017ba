"""What is still to come, in order of time: the simulation's only clock."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import TypeAlias

Action: TypeAlias = Callable[[float], None]  # gets its instant


class Agenda:
    """What is due at the same instant runs in the order it was put in."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Action]] = []
        self._count = 0

    def at(self, instant: float, action: Action) -> None:
        self._count += 1
        heapq.heappush(self._due, (instant, self._count, action))

    @property
    def next_at(self) -> float:
        return self._due[0][0] if self._due else math.inf

    def run(self, until: float) -> None:
        """Run what is due by then, what that puts in included."""
        due = self._due
        while due and due[0][0] <= until:
            instant, _, action = heapq.heappop(due)
            action(instant)
