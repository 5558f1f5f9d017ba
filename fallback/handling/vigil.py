"""The requests that wait for an upstream: a long silence makes somebody look, and bad news about
the upstream hurries them on."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from fallback.core.health import Case, Change, Scope, State
from fallback.tiers.race import Race

_TICK_S = 1.0
_GAP_S = 60.0


class Waiter(NamedTuple):
    """One request at one upstream; `answered` tells whether its head is here."""

    case: Case
    race: Race[Any]
    answered: Callable[[], bool]


class Vigil:
    """`look` starts a free look at an upstream, unless one is under way. `look_after_s` is how
    long a request may be without an answer's head before it is worth one."""

    def __init__(self, look: Callable[[str], None], *, look_after_s: float) -> None:
        self._look = look
        self._look_after_s = look_after_s
        self._waiters: dict[Waiter, float] = {}
        self._looked: dict[str, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Vigil waiters={len(self._waiters)}>"

    def begin(self, waiter: Waiter) -> None:
        loop = asyncio.get_running_loop()
        self._waiters[waiter] = loop.time()
        if self._timer is None:
            # One timer for all of them: one each would cost every healthy request.
            self._timer = loop.call_later(self._look_after_s, self._tick)

    def end(self, waiter: Waiter) -> None:
        del self._waiters[waiter]

    def changed(self, change: Change) -> None:
        """Hear of a change of health: who still waits in silence need not wait for more."""
        if change.after is not State.DOWN:
            return
        for waiter in list(self._waiters):
            if _concerns(change.scope, waiter.case) and not waiter.answered():
                waiter.race.hurry()

    def _tick(self) -> None:
        """Look where a request has been silent for long; come again while requests wait."""
        loop = asyncio.get_running_loop()
        for waiter, began in self._waiters.items():
            if loop.time() - began >= self._look_after_s:
                self._waiters[waiter] = math.inf  # one look is enough
                if not waiter.answered():
                    self._look_at(waiter.case.upstream, loop.time())
        self._timer = loop.call_later(_TICK_S, self._tick) if self._waiters else None

    def _look_at(self, upstream: str, now: float) -> None:
        # Many a healthy answer in one piece takes longer: no look for each of them.
        if now - self._looked.get(upstream, -math.inf) >= _GAP_S:
            self._looked[upstream] = now
            self._look(upstream)


def _concerns(scope: Scope, case: Case) -> bool:
    """Whether its being down says that the answer will not come. A bad key says nothing about
    those of others."""
    if scope.kind in ("network", "upstream"):
        return scope.upstream in ("", case.upstream)
    return scope.kind == "model" and (scope.upstream, scope.name) == (case.upstream, case.family)
