"""How long the first content usually takes, per upstream, model family and size of request.

The logarithm of the time is about normal, so mean and spread of the logarithm are what is
kept, forgetting slowly. Pure.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

_KEYS = 512
_ENOUGH = 8
_MEMORY = 50
_SIGMAS = 3.0
_LEAST_SPREAD = 0.25
_LEAST_S, _MOST_S = 2.0, 30.0
_REGIME_S = 6 * 3600.0
_LATE_GAP_S = 180.0


class LatencyKey(NamedTuple):
    """What is comparable: `bucket` as of `size_bucket`."""

    upstream: str
    family: str
    bucket: int
    streams: bool


def size_bucket(size_bytes: int) -> int:
    """The request's size class: a power of four."""
    return max(0, size_bytes.bit_length() - 9) // 2


class _Baseline:
    """Of one key; `late_at` is when an answer last was too late to be measured."""

    __slots__ = ("count", "late_at", "mean", "variance")

    def __init__(self) -> None:
        self.count = 0
        self.mean = self.variance = 0.0
        self.late_at = -math.inf

    @property
    def limit(self) -> float:
        """The logarithm past which a first content is slow."""
        return self.mean + _SIGMAS * max(_LEAST_SPREAD, math.sqrt(self.variance))

    @property
    def learned(self) -> bool:
        return self.count >= _ENOUGH

    def observe(self, seconds: float) -> None:
        self.count += 1
        self._fold(seconds, 1.0 / min(self.count, _MEMORY))

    def late(self, waited_s: float, now: float) -> None:
        if not self.learned:
            self.observe(waited_s)
            return
        passed_s = min(now - self.late_at, _LATE_GAP_S)
        self.late_at = now
        self._fold(waited_s, passed_s / _REGIME_S)

    def _fold(self, seconds: float, share: float) -> None:
        logarithm = math.log(max(seconds, 1e-3))
        if self.learned:
            logarithm = min(logarithm, self.limit)
        step = logarithm - self.mean
        self.mean += share * step
        self.variance = (1.0 - share) * (self.variance + share * step * step)


class Baselines:
    """Exponentially weighted mean and variance of ln(seconds), for at most 512 keys.

    What is slow counts as if it had been just not so (winsorized): a brownout does not make
    itself the usual, while what is slower for good becomes it in time.

    Source: T. Finch, "Incremental calculation of weighted mean and variance" (2009), section 9.
    """

    def __init__(self) -> None:
        self._seen: OrderedDict[LatencyKey, _Baseline] = OrderedDict()

    def observe(self, key: LatencyKey, seconds: float) -> None:
        """The first content of one answer came after so many seconds."""
        self._baseline(key).observe(seconds)

    def late(self, key: LatencyKey, waited_s: float, now: float) -> None:
        """The first content had not come after so many seconds, and nobody waited for it.

        Until enough is known that counts as if it had come then. Later it weighs by the time
        that it goes on: hours of it are a new usual, the minutes of a brownout are not.
        """
        self._baseline(key).late(waited_s, now)

    def slow_after_s(self, key: LatencyKey) -> float | None:
        """Seconds past which a first content is slow; None until enough answers were seen."""
        baseline = self._seen.get(key)
        if baseline is None or not baseline.learned:
            return None
        return min(_MOST_S, max(_LEAST_S, math.exp(baseline.limit)))

    def _baseline(self, key: LatencyKey) -> _Baseline:
        found = self._seen.get(key)
        if found is None:
            found = self._seen[key] = _Baseline()
            if len(self._seen) > _KEYS:
                self._seen.popitem(last=False)
        else:
            self._seen.move_to_end(key)
        return found
