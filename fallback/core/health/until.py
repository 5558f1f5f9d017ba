"""What holds until an instant: rate limits, and bodies that are known to fail. Bounded."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

_MOST = 256


class Until:
    """At most 256 keys, each with its Unix second; the oldest makes room."""

    def __init__(self) -> None:
        self._ends: OrderedDict[Hashable, float] = OrderedDict()

    def holds_any(self, now: float) -> bool:
        """Whether anything holds; what does not any more is dropped."""
        while self._ends and (first := next(iter(self._ends.items())))[1] <= now:
            del self._ends[first[0]]
        return bool(self._ends)

    def put(self, key: Hashable, end: float) -> None:
        self._ends[key] = end
        self._ends.move_to_end(key)
        if len(self._ends) > _MOST:
            self._ends.popitem(last=False)

    def left_s(self, key: Hashable, now: float) -> float:
        """Seconds that it still holds; 0 where it does not."""
        end = self._ends.get(key, now)
        if end <= now:
            self._ends.pop(key, None)
        return max(0.0, end - now)

    def drop(self, key: Hashable) -> None:
        self._ends.pop(key, None)
