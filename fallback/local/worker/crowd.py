"""How many threads a step may have, by what others leave of the processors. Pure: time and what
the processors did are arguments.

The threads of a step wait for each other hundreds of times a token, and spin while they do. If one
of them has to share its core, all have to wait for it: on two cores beside one busy process, two
threads decode 2 to 5 tokens/s (26 if they spin less, which costs a tenth where they are alone), one
thread 75. So a step gets no more threads than there are cores free. Once the others have been gone
for a second, it gets all of them again: what comes and goes costs most when it comes.
"""

from __future__ import annotations

import math
from collections import deque
from typing import NamedTuple

LOOK_S = 0.15
"""How long to look, in seconds: shorter, and the system's clock ticks of 10 ms blur it."""

# What is taken of a core before it is left alone: the proxy and its clients need a little.
_SHARED = 0.35
_REMEMBERED_S = 1.0


class Used(NamedTuple):
    """Processor seconds until now, on the cores this process may use: all, and its own."""

    all_s: float
    own_s: float


class Crowd:
    """What others take of `cores`: the most that was seen within the last second."""

    def __init__(self, cores: int, now: float, used: Used) -> None:
        self._cores = max(1, cores)
        self._looked_at = now
        self._used = used
        self._seen: deque[tuple[float, float]] = deque()

    def __repr__(self) -> str:
        return f"<Crowd others={self._others:.2f} of {self._cores} cores>"

    @property
    def _others(self) -> float:
        return max((others for _, others in self._seen), default=0.0)

    def is_due(self, now: float) -> bool:
        """Whether it is time to look again."""
        return now >= self._looked_at + LOOK_S

    def rest(self, now: float, used: Used) -> None:
        """Until now nothing was computed: what others did then says nothing."""
        self._looked_at, self._used = now, used

    def look(self, now: float, used: Used) -> None:
        """What was used since the last look. Counters that went back count as unused."""
        passed_s = now - self._looked_at
        all_s, own_s = used.all_s - self._used.all_s, used.own_s - self._used.own_s
        self._looked_at, self._used = now, used
        if passed_s > 0:
            self._seen.append((now, min(max(all_s - own_s, 0.0) / passed_s, float(self._cores))))
        while self._seen and self._seen[0][0] < now - _REMEMBERED_S:
            self._seen.popleft()

    @property
    def threads(self) -> int:
        """The most threads that each have a core, at least one."""
        return max(1, math.floor(self._cores - self._others + _SHARED))
