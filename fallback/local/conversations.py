"""Which conversations live, and which of them is to be warmed next. Pure: time is an argument.

Rules of this file:
- Of a conversation only its newest request counts, and the last one that was warmed: the newest may
  turn out to be one that no local model may answer, such as a compaction.
- Conversations of one strain (`core.passed`) are told apart by length, for they only grow: a
  request goes on with the longest that is not longer than itself. A mistake costs one prefill.
- The newest come first, and those that nobody came back to are forgotten first. What the memory
  that the operator allows would not hold beside those that are newer is not warmed.
- Warming must pay. The engine tells how much of a request it had already. Where that is less than
  what was warmed of the conversation before, its requests do not build on each other (an
  application's separate questions under one system prompt), and it rests, longer each time. Where
  nobody comes back to newcomers, a newcomer is warmed only when it does.
- When the cloud is suspect, none of this restraint holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import msgspec

from fallback.core.passed import Passed

_LIMIT = 8
_LIMIT_OF_STRAIN = 4
_MAX_BYTES = 32 * 1024 * 1024
_MAX_BODY_BYTES = 8 * 1024 * 1024
# So many of these that all places are taken by them are within the bound.
_SMALL_BODY_BYTES = _MAX_BYTES // (3 * _LIMIT)
_LIFE_S = 3600.0
# A later request may be a little shorter: marks for the provider's cache move, fields go.
_SHRINKS_BY = 0.02
_SHRINKS_BY_BYTES = 1024
_BUILDS_ON = 0.9
_CHEAP_TOKENS = 128
_REST_FIRST_S, _REST_MAX_S = 10.0, 600.0
_BARREN = 4


class Warmth(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine has ready of one request: of `tokens` it had `cached_tokens` before."""

    tokens: int
    cached_tokens: int = 0
    kv_bytes: int = 0


class _Conversation:
    """One conversation; `warm` was warmed last, `warmth` is what the engine still has of it, and
    `chosen` is being warmed."""

    def __init__(self, newest: Passed, now: float) -> None:
        self.newest = newest
        self.chosen: Passed | None = None
        self.warm: Passed | None = None
        self.warmth: Warmth | None = None
        self.seen_at = now
        self.came_back = False
        self.rest_s = 0.0
        self.due_at = -math.inf

    @property
    def bytes(self) -> int:
        kept = {id(one): len(one.body) for one in self.requests}
        return sum(kept.values())

    @property
    def requests(self) -> list[Passed]:
        return [one for one in (self.newest, self.chosen, self.warm) if one is not None]

    @property
    def kv_bytes(self) -> int:
        return 0 if self.warmth is None else self.warmth.kv_bytes

    @property
    def is_warm(self) -> bool:
        return self.warmth is not None and self.warm is self.newest

    def take(self, request: Passed, now: float) -> None:
        self.seen_at = now
        self.came_back = True
        if request.body != self.newest.body:
            self.newest = request

    def warmed(self, request: Passed, warmth: Warmth, now: float) -> bool:
        """Whether it is known to build on what was warm before."""
        before = self.warmth
        self.chosen, self.warm, self.warmth = None, request, warmth
        builds_on = before is None or warmth.cached_tokens >= _BUILDS_ON * before.tokens
        if builds_on:
            self.rest_s = 0.0
        elif warmth.tokens - warmth.cached_tokens > _CHEAP_TOKENS:
            self.rest_s = min(_REST_MAX_S, max(_REST_FIRST_S, 2 * self.rest_s))
        self.due_at = now + self.rest_s
        return builds_on and before is not None


class Conversations:
    """Bounded in number and bytes. Times in seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._all: list[_Conversation] = []
        self._barren = 0

    def __repr__(self) -> str:
        return f"<Conversations {len(self)} warm={self.warm} barren={self._barren}>"

    def __len__(self) -> int:
        return len(self._all)

    @property
    def warm(self) -> int:
        """How many have their newest request ready."""
        return sum(each.is_warm for each in self._all)

    @property
    def tokens(self) -> int:
        """Tokens that are ready, of all conversations; what they share is counted twice."""
        return sum(each.warmth.tokens for each in self._all if each.warmth is not None)

    @property
    def kv_bytes(self) -> int:
        """What the engine's states of these take, counted like `tokens`."""
        return sum(each.kv_bytes for each in self._all)

    @property
    def held_bytes(self) -> int:
        """What the requests that are kept take."""
        return sum(each.bytes for each in self._all)

    def saw(self, request: Passed, now: float) -> None:
        """A request passed."""
        if len(request.body) > _MAX_BODY_BYTES:
            return
        known = self._goes_on_with(request)
        if known is None:
            self._all.append(_Conversation(request, now))
        else:
            known.take(request, now)
        if known is None or len(request.body) > _SMALL_BODY_BYTES:
            self._forget(request, now)

    def choose(self, now: float, *, budget_bytes: float, urgent: bool = False) -> Passed | None:
        """The request to warm next. `budget_bytes` is for the engine's states of them all;
        `urgent`: the cloud is suspect."""
        for each in self._candidates(budget_bytes, urgent=urgent):
            if urgent or each.due_at <= now:
                each.chosen = each.newest
                return each.newest
        return None

    def due_in_s(self, now: float, *, budget_bytes: float) -> float | None:
        """Seconds until there may be a next one, if nothing else passes meanwhile."""
        waits = (each.due_at - now for each in self._candidates(budget_bytes, urgent=False))
        return max(0.0, wait) if (wait := min(waits, default=None)) is not None else None

    def warmed(self, request: Passed, warmth: Warmth, now: float) -> None:
        """This much of the request that was chosen is ready."""
        if (found := self._find(request)) is None:
            return
        is_newcomer = found.warm is None
        if found.warmed(request, warmth, now):
            self._barren = 0
        elif is_newcomer:
            self._barren += 1

    def refused(self, request: Passed) -> None:
        """The engine will not warm the one that was chosen: what its conversation had before
        stays."""
        if (found := self._find(request)) is None:
            return
        found.chosen = None
        if found.newest is not request:
            return
        if found.warm is None or found.warm is request:
            self._all.remove(found)
        else:
            found.newest = found.warm

    def cool(self) -> None:
        """The engine has lost what it had: all is to be warmed again."""
        for each in self._all:
            each.warmth = None
            each.due_at = -math.inf

    def _candidates(self, budget_bytes: float, *, urgent: bool) -> Iterator[_Conversation]:
        """Those that are not warm and may be, newest first."""
        one_takes = max((each.kv_bytes for each in self._all), default=0)
        used = 0
        for each in sorted(self._all, key=lambda one: -one.seen_at):
            used += each.kv_bytes or one_takes
            if used > budget_bytes and used > one_takes:
                return
            welcome = urgent or each.came_back or self._barren < _BARREN
            if not each.is_warm and welcome:
                yield each

    def _goes_on_with(self, request: Passed) -> _Conversation | None:
        limit = len(request.body) * (1 + _SHRINKS_BY) + _SHRINKS_BY_BYTES
        strain = request.strain
        same = [each for each in self._all if each.newest.strain == strain]
        fitting = [each for each in same if len(each.newest.body) <= limit]
        if fitting:
            return max(fitting, key=lambda each: len(each.newest.body))
        if len(same) >= _LIMIT_OF_STRAIN:
            return min(same, key=lambda each: each.seen_at)
        return None

    def _find(self, request: Passed) -> _Conversation | None:
        return next((each for each in self._all if each.chosen is request), None)

    def _forget(self, newest: Passed, now: float) -> None:
        self._all = [each for each in self._all if now - each.seen_at < _LIFE_S]
        while len(self._all) > _LIMIT or self.held_bytes > _MAX_BYTES:
            others = [each for each in self._all if each.newest is not newest]
            if not others:
                return
            self._all.remove(min(others, key=lambda each: (each.came_back, each.seen_at)))
