"""How long the first content usually takes, and what is slow."""

import random

import pytest

from fallback.core.latency import Baselines, LatencyKey, size_bucket

KEY = LatencyKey("cloud", "large", 3, True)


def taught(usual_s: float, count: int = 50) -> Baselines:
    baselines, rng = Baselines(), random.Random(1)
    for _ in range(count):
        baselines.observe(KEY, usual_s * rng.lognormvariate(0.0, 0.2))
    return baselines


def test_nothing_is_slow_before_enough_was_seen() -> None:
    """Seven answers teach nothing yet, the eighth does."""
    assert taught(1.0, 7).slow_after_s(KEY) is None
    assert taught(1.0, 8).slow_after_s(KEY) is not None


@pytest.mark.parametrize("usual_s", [1.5, 4.0, 9.0])
def test_slow_is_far_beyond_the_usual(usual_s: float) -> None:
    """About three standard deviations of the logarithm, so that hardly a healthy answer is."""
    threshold = taught(usual_s).slow_after_s(KEY)
    assert threshold is not None
    assert 1.7 * usual_s < threshold < 3 * usual_s


def test_the_threshold_stays_within_reason() -> None:
    """Neither a fast cloud's twitch nor a slow one's patience is exaggerated."""
    assert taught(0.05).slow_after_s(KEY) == 2.0
    assert taught(100.0).slow_after_s(KEY) == 30.0


def test_each_key_has_its_own() -> None:
    """A large prompt is not slow by a small one's measure."""
    assert taught(1.0).slow_after_s(KEY._replace(bucket=5)) is None


def test_a_brownout_does_not_make_itself_the_usual() -> None:
    """Fifteen minutes of late answers leave the threshold near what it was."""
    baselines = taught(1.5)
    before = baselines.slow_after_s(KEY)
    for minute in range(15):
        for _ in range(100):
            baselines.late(KEY, 4.0, 60.0 * minute)
        if minute % 3 == 0:
            baselines.observe(KEY, 40.0)
    after = baselines.slow_after_s(KEY)
    assert before is not None
    assert after is not None
    assert after < 3 * before


def test_what_is_slower_for_good_becomes_the_usual() -> None:
    """A new model that takes its time is not hedged for ever."""
    baselines = taught(1.5)
    for minute in range(600):
        threshold = baselines.slow_after_s(KEY)
        assert threshold is not None
        if threshold >= 8.0:
            return
        baselines.late(KEY, threshold, 60.0 * minute)
    raise AssertionError(f"still slow after {threshold} s")


def test_memory_is_bounded() -> None:
    """The keys that were used last are kept."""
    baselines = taught(1.0)
    for number in range(511):
        baselines.observe(KEY._replace(family=f"model-{number}"), 1.0)
    assert baselines.slow_after_s(KEY) is not None
    baselines.observe(KEY._replace(family="one more"), 1.0)
    assert baselines.slow_after_s(KEY) is None


@pytest.mark.parametrize(
    ("size_bytes", "bucket"), [(0, 0), (500, 0), (2_000, 1), (10_000, 2), (120_000, 4)]
)
def test_sizes_are_classed_by_powers_of_four(size_bytes: int, bucket: int) -> None:
    """Requests of about one size share a baseline."""
    assert size_bucket(size_bytes) == bucket
