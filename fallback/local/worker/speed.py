"""How long the model takes for what, learned from each step. Pure.

A step that reads a prompt takes `a + b * depth` seconds a token, at the depth it has in its
sequence: attention looks back on all before it. A step that only decodes takes a fixed time,
and so much for each of its tokens and each token of depth they look back on.

Learned by exponentiated gradient: the logarithm of (taken / expected) corrects each coefficient
in proportion to its share of the expectation. So all of them stay positive, what a step says
nothing about stays as it was (all prompts short: nothing is known of depth), and there is no
scale to choose. Each step is followed by a few that were kept, of other depths, which tells the
coefficients from each other sooner. What surprises by more than a factor of two counts as a
factor of two: one step during which the machine swapped teaches little, a machine that stays
slower is learned.

Measured on simulated machines (noise of 15 %, one step in thirty ten times too long), from the
wrong seed: a factor of 1.4 off on average after the first prompt, 1.1 after five; a machine
three times slower from now on is known after 16 steps. Least squares with forgetting was worse
at all of these, for its outliers and its scale.

Sources: J. Kivinen, M. Warmuth, "Exponentiated gradient versus gradient descent for linear
predictors", Information and Computation 132 (1997), here with a relative residual, as times are;
L.-J. Lin, "Self-improving reactive agents", Machine Learning 8 (1992), for replayed experience.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

# Of this project's first model on two AVX2 cores; anything else is learned from these.
_PREFILL: Final = (5.4e-3, 1.6e-6)
_DECODE: Final = (9.0e-3, 3.9e-6)
# As many tokens of one sequence in a step are computed as matrices, not one vector at a time.
_WIDE_TOKENS: Final = 32
# So many steps share the knowledge in the end; fewer at first, when all of it is a guess.
_MEMORY_STEPS: Final = 12
_KEPT_STEPS: Final = 32
_REPLAYED_STEPS: Final = 3
_HASTE: Final = 2
# Learning takes 0.1 ms: of steps that take little more than that, several are learned as one.
_WORTH_S: Final = 0.02
_SURPRISE: Final = math.log(2.0)
_SOON: Final = 8
_LEAST_S: Final = 1e-6
# Of the base, for each token of depth: from less than a tenth in 4,000 nothing could be learned.
_LEAST_SLOPE: Final = 3e-5
# A coefficient that hardly matters still learns a little, or it could never matter again.
_LEAST_SHARE: Final = 0.02


class Work(NamedTuple):
    """`tokens` of one sequence, computed after `depth` others of it."""

    depth: int
    tokens: int


class _Step(NamedTuple):
    took_s: float
    features: tuple[float, ...]


class _Line:
    """Seconds as a sum of features, each times a coefficient. Readers on other threads see a
    whole set of coefficients: it is replaced, never changed."""

    def __init__(self, *coefficients: float) -> None:
        self.coefficients = coefficients
        self._kept: list[_Step] = []
        self._seen = 0

    def __call__(self, *features: float) -> float:
        return sum(c * f for c, f in zip(self.coefficients, features, strict=True))

    @property
    def is_new(self) -> bool:
        """Whether each step still tells much."""
        return self._seen < _SOON

    def learn(self, took_s: float, *features: float) -> None:
        step = _Step(max(took_s, _LEAST_S), features)
        self._seen += 1
        rate = _HASTE / (_HASTE + min(self._seen, _MEMORY_STEPS))
        self._follow(step, rate, _SURPRISE if self._seen > _SOON else math.inf)
        self._keep(step)
        for turn in range(_REPLAYED_STEPS * self._seen, _REPLAYED_STEPS * (self._seen + 1)):
            self._follow(self._kept[turn % len(self._kept)], rate / 2, _SURPRISE)

    def _keep(self, step: _Step) -> None:
        if len(self._kept) < _KEPT_STEPS:
            self._kept.append(step)
        else:
            self._kept[self._seen % _KEPT_STEPS] = step

    def _follow(self, step: _Step, rate: float, most: float) -> None:
        """Correct so that `rate` of the step's surprise would be gone, were it to come again."""
        expected_s = self(*step.features)
        surprise = min(max(math.log(step.took_s / expected_s), -most), most)
        shares = [c * f / expected_s for c, f in zip(self.coefficients, step.features, strict=True)]
        weights = [max(share, _LEAST_SHARE) if share else 0.0 for share in shares]
        pace = rate * surprise / sum(s * w for s, w in zip(shares, weights, strict=True))
        self.coefficients = tuple(
            c * math.exp(pace * weight)
            for c, weight in zip(self.coefficients, weights, strict=True)
        )


class Speed:
    """`prefill` and `decode` are what calibration found: seconds a token at no depth (of one
    sequence alone, for `decode`), and seconds more for each token of depth.

    No growth with depth, as a fast machine may measure it, counts as little. Reads may come
    from any thread, `learn` from one. Raises `ValueError` for a speed that nothing has.
    """

    def __init__(
        self,
        prefill: tuple[float, float] = _PREFILL,
        decode: tuple[float, float] = _DECODE,
    ) -> None:
        token_s, depth_s = _positive(*prefill)
        self._prefill = _Line(token_s, depth_s)
        step_s, depth_s = _positive(*decode)
        self._decode = _Line(step_s / 2, step_s / 2, depth_s)
        self._unlearned = _Step(0.0, (0.0, 0.0, 0.0))

    def __repr__(self) -> str:
        return (
            f"<Speed prefill={self.prefill_tokens_per_s:.0f}/s"
            f" decode={self.decode_tokens_per_s:.0f}/s>"
        )

    @property
    def prefill_tokens_per_s(self) -> float:
        """Of a prompt's first thousand tokens."""
        return 1000 / self.prefill_s(1000)

    @property
    def decode_tokens_per_s(self) -> float:
        """Of one answer alone after a thousand tokens."""
        return 1 / self.decode_s(1, 1000)

    def prefill_s(self, tokens: int, start: int = 0) -> float:
        """Seconds to read `tokens` after `start` others of the same prompt."""
        return self._prefill(tokens, tokens * (start + tokens / 2))

    def prefill_tokens_within(self, seconds: float, start: int = 0) -> int:
        """How many tokens can be read within so many seconds after `start` others."""
        if seconds <= 0:
            return 0
        token_s, depth_s = self._prefill.coefficients
        here_s = token_s + depth_s * start
        return int(2 * seconds / (here_s + math.sqrt(here_s**2 + 2 * depth_s * seconds)))

    def decode_s(self, sequences: int, depth: float) -> float:
        """Seconds of a step that gives each of the sequences a token, at that mean depth."""
        return self._decode(1, sequences, sequences * depth)

    def learn(self, works: Sequence[Work], took_s: float) -> None:
        """A step computed all of this and took so long."""
        tokens = sum(work.tokens for work in works)
        if not tokens:
            return
        looked_back = sum(work.tokens * (work.depth + work.tokens / 2) for work in works)
        if max(work.tokens for work in works) >= _WIDE_TOKENS:
            self._prefill.learn(took_s, tokens, looked_back)
        else:
            self._learn_decoding(took_s, (1, tokens, looked_back))

    def _learn_decoding(self, took_s: float, features: tuple[float, ...]) -> None:
        """All is linear: what holds for each of some steps holds for their sum."""
        sums = map(sum, zip(self._unlearned.features, features, strict=True))
        step = _Step(self._unlearned.took_s + took_s, tuple(sums))
        if self._decode.is_new or step.took_s >= _WORTH_S:
            self._decode.learn(step.took_s, *step.features)
            step = _Step(0.0, (0.0,) * len(features))
        self._unlearned = step


def _positive(base_s: float, depth_s: float) -> tuple[float, float]:
    if not base_s > 0:
        raise ValueError(f"no model takes {base_s} s a token")
    return base_s, max(depth_s, _LEAST_SLOPE * base_s)
