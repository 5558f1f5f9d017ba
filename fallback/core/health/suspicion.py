"""How strongly what was seen speaks for an outage, and how much of it is enough.

Rules of this file:
- A scope always fails now and then. How often (the background) is learned while it is well, and
  a failure weighs by how rare it is there: the logarithm of its likelihood in an outage over
  that in the background, in nats.
- These add up and never fall below zero (a CUSUM), one sum for an outage that fails nearly all
  requests and one for an outage that fails half of them.
- Enough is the logarithm of the number of outcomes among which one false alarm may happen: the
  sum of a well scope reaches h once in e^h outcomes at most. So it grows with the traffic.
- Failures come in clusters. At a high rate those of one moment are one event, so that evidence
  is limited per second; how large clusters are is learned as well.

Sources: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954); G. Lorden,
"Procedures for reacting to a change in distribution", Ann. Math. Statist. 42 (1971), for the
bound; P. McCullagh, J. A. Nelder, "Generalized Linear Models" (1989), section 4.5, for dividing
by the dispersion.
"""

from __future__ import annotations

import math

from fallback.core.health.evidence import Evidence
from fallback.core.health.settings import HealthSettings

_DAY_S = 86_400.0
_HOUR_S = 3_600.0

# Before anything is learned, as if so many outcomes had been seen with this share of failures.
_PRIOR_OUTCOMES = 100.0
_PRIOR_RATIO = 0.008
_PRIOR_CLUSTERS = 5.0
_RATIOS = (0.004, 0.15)
_CLUSTER_S = 5.0

_RATE_S = 60.0
_SLOWEST_RATE = 1.0 / 60.0
_BLINK_S = 0.1
_WHOLE_WEIGHT = 2.0
_LEAST_WEIGHT = 0.5
_RELAPSE_SHARE = 0.5


class Background:
    """The share of requests that fail while a scope is well, and the size of the clusters they
    come in. What is older than a day counts half."""

    __slots__ = ("_at", "_failures", "_outcomes", "_prior", "_squares")

    def __init__(self, *, now: float, prior: float) -> None:
        self._at = now
        self._prior = prior
        self._outcomes = self._failures = self._squares = 0.0

    @property
    def ratio(self) -> float:
        failures = self._failures + self._prior * _PRIOR_OUTCOMES
        least, most = _RATIOS
        return min(most, max(least, failures / (self._outcomes + _PRIOR_OUTCOMES)))

    @property
    def cluster(self) -> float:
        """Failures in the cluster of an average failure, at least 1."""
        return (self._squares + _PRIOR_CLUSTERS) / (self._failures + _PRIOR_CLUSTERS)

    def learn(self, outcomes: float, failures: float, squares: float, now: float) -> None:
        """Outcomes whose failures turned out to be harmless; `squares` sums those of the sizes
        of their clusters."""
        kept = 2.0 ** (-max(0.0, now - self._at) / _DAY_S)
        self._at = now
        self._outcomes = self._outcomes * kept + outcomes
        self._failures = self._failures * kept + failures
        self._squares = self._squares * kept + squares


class Cusum:
    """The sum for outages in which `ratio` of the requests fail.

    Up to `free_per_s` outcomes a second are taken to be independent. At n times that rate they
    count as n ** (1 - `damping`) times as many: with a damping of 1 never as more.
    """

    __slots__ = ("_damping", "_free_per_s", "_left", "_ratio", "_spread", "enough", "score")

    def __init__(self, *, ratio: float, free_per_s: float, damping: float) -> None:
        self._ratio = ratio
        self._free_per_s = free_per_s
        self._damping = damping
        self._spread = 1.0
        self._left = 1.0
        self.score = 0.0
        self.enough = math.inf

    def tune(self, rate: float, cluster: float, horizon_s: float) -> None:
        """Fit it to the traffic (`rate` in outcomes a second)."""
        crowd = (rate / self._free_per_s) ** self._damping
        self._spread = max(1.0, crowd, min(cluster, max(2.0, _CLUSTER_S * rate)))
        self.enough = math.log(rate / self._spread * horizon_s + math.e)

    def blame(self, background: float) -> float:
        """What one certain failure adds where it stands alone."""
        return math.log(self._ratio / background)

    def failed(self, background: float, worth: float, *, blink: bool) -> None:
        """One more request failed. Those of one `blink` count as one failure at most."""
        self._left = self._left if blink else 1.0
        share = min(1.0 / self._spread, self._left)
        self._left -= share
        self.saw(background, worth * share)

    def saw(self, background: float, worth: float) -> None:
        """A failure was seen that is no request's."""
        self.score = min(self.score + worth * self.blame(background), self.enough)

    def succeeded(self, background: float) -> None:
        relief = math.log((1.0 - background) / (1.0 - self._ratio))
        self.score = max(0.0, self.score - relief / self._spread)


class Suspicion:
    """The evidence against one scope that is not yet down. Until it has seen something itself it
    takes errors and traffic to be like those of a wider scope."""

    __slots__ = (
        "_at", "_blink_at", "_calm", "_cluster", "_failures", "_half_life_s",
        "_horizon_s", "_looks", "_outcomes", "_recent", "_squares", "background", "hard", "part",
    )  # fmt: skip

    def __init__(
        self, settings: HealthSettings, *, now: float, like: Suspicion | None = None
    ) -> None:
        prior: float = like.background.ratio if like else _PRIOR_RATIO
        self.background: Background = Background(now=now, prior=prior)
        self.hard = Cusum(ratio=0.98, free_per_s=0.25, damping=0.5)
        self.part = Cusum(ratio=0.5, free_per_s=0.25, damping=1.0)
        self._half_life_s = settings.half_life_s
        self._horizon_s = settings.false_down_days * _DAY_S
        self._at = now
        self._blink_at = -math.inf
        self._recent = like.rate * _RATE_S if like else 0.0
        self._calm = 0
        self._outcomes = self._failures = self._cluster = self._squares = 0.0
        self._looks = 0
        self._tune()

    @property
    def rate(self) -> float:
        """Outcomes a second, about a minute's mean."""
        return max(_SLOWEST_RATE, self._recent / _RATE_S)

    @property
    def quiet(self) -> bool:
        """Nothing is held against it."""
        return self.hard.score == 0.0 and self.part.score == 0.0

    def score(self, now: float) -> float:
        """The share of what is enough, as decayed by `now`."""
        kept = self._kept(now)
        return kept * max(self.hard.score / self.hard.enough, self.part.score / self.part.enough)

    def succeeded(self, now: float, *, times: int = 1) -> None:
        """A request was answered well, or several while quiet. The healthy path: mostly it only
        counts."""
        if self.quiet:
            self._calm += times
            return
        self._advance(now, outcomes=1.0)
        self._relieve(now)

    def failed(self, evidence: Evidence, now: float, *, began: float) -> None:
        """One piece of evidence against the scope, from a request that began then."""
        worth = min(1.0, (evidence.weight + _LEAST_WEIGHT) / _WHOLE_WEIGHT)
        if evidence.source != "request":
            return self._looked(evidence, worth, now)
        self._advance(now, outcomes=1.0)
        self._failures += worth
        self._cluster += worth
        self._tune()
        blink = began < self._blink_at and now - self._blink_at <= _BLINK_S
        self._blink_at = self._blink_at if blink else now
        for cusum in (self.hard, self.part):
            cusum.failed(self.background.ratio, worth, blink=blink)
        return None

    def _looked(self, evidence: Evidence, worth: float, now: float) -> None:
        """Looking twice at the same edge says little more than once."""
        self._advance(now, outcomes=0.0)
        self._looks += 1
        worth /= self._looks if evidence.source == "probe" else 2.0**self._looks
        for cusum in (self.hard, self.part):
            cusum.saw(self.background.ratio, worth)

    def answered(self, now: float) -> None:
        """A free probe refuted what requests had seen of the edge."""
        self._advance(now, outcomes=0.0)
        self._looks = 0
        self._relieve(now)

    def is_strong(self, now: float) -> bool:
        """More than chance brings once in an hour: reason to look."""
        enough = math.log(max(math.e, self.rate * _HOUR_S))
        return self._kept(now) * max(self.hard.score, self.part.score) >= enough

    def is_enough(self, now: float) -> bool:
        """An outage."""
        return self.score(now) >= 1.0

    def acquit(self, now: float) -> None:
        """The failures since the last calm were background."""
        self._end_cluster()
        self.background.learn(self._outcomes, self._failures, self._squares, now)
        self.clear(now)

    def clear(self, now: float) -> None:
        """Forget them."""
        self.hard.score = self.part.score = 0.0
        self._outcomes = self._failures = self._cluster = self._squares = 0.0
        self._looks = 0
        self._at = now

    def distrust(self, now: float) -> None:
        """After an outage less is enough for the next."""
        self.clear(now)
        for cusum in (self.hard, self.part):
            cusum.score = _RELAPSE_SHARE * cusum.enough

    def more_failures(self, now: float) -> int:
        """How many failures in a row from now on would be enough."""
        missing = self.hard.enough - self._kept(now) * self.hard.score
        return max(1, math.ceil(missing / self.hard.blame(self.background.ratio)))

    def _relieve(self, now: float) -> None:
        for cusum in (self.hard, self.part):
            cusum.succeeded(self.background.ratio)
        if self.hard.score == 0.0:
            self._end_cluster()
        if self.quiet:
            self.acquit(now)

    def _end_cluster(self) -> None:
        self._squares += self._cluster * self._cluster
        self._cluster = 0.0

    def _advance(self, now: float, *, outcomes: float) -> None:
        """More outcomes, after the calm ones that were only counted."""
        elapsed = max(0.0, now - self._at)
        kept = math.exp(-elapsed / _RATE_S)
        spread = _RATE_S / elapsed * (1.0 - kept) if elapsed > 0 else 1.0
        self._recent = self._recent * kept + self._calm * spread + outcomes
        self._outcomes += outcomes
        if self._calm:
            self.background.learn(float(self._calm), 0.0, 0.0, now)
            self._calm = 0
        faded = self._kept(now)
        self.hard.score *= faded
        self.part.score *= faded
        self._at = max(self._at, now)

    def _kept(self, now: float) -> float:
        return float(2.0 ** (-max(0.0, now - self._at) / self._half_life_s))

    def _tune(self) -> None:
        for cusum in (self.hard, self.part):
            cusum.tune(self.rate, self.background.cluster, self._horizon_s)
