"""The search for the best way to run a model, over machines that are made up."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.calibration_plan import (
    Options,
    Sample,
    Samples,
    Trial,
    cost_s,
    explain,
    line,
    search,
    speeds,
    thread_options,
)
from fallback.local.worker.tuning import Choice

FIRST = Choice(flash_attention=False, ubatch_tokens=256, threads=8, threads_batch=8)
OPTIONS = Options(requantized=True, threads=(4, 7, 8, 16))
MOST_TRIALS = 1 + 1 + 1 + 2 + 3 + 3


def samples(scale: float) -> Samples:
    """A machine that takes `scale` times as long as one unit for everything."""
    return Samples(
        prefill=(
            Sample(depth=256, seconds=0.005 * scale),
            Sample(depth=4096, seconds=0.01 * scale),
        ),
        decode=(Sample(depth=512, seconds=0.01 * scale), Sample(depth=4096, seconds=0.02 * scale)),
        crowd=4,
        crowd_depth=1024,
        crowd_s=0.04 * scale,
    )


def found_by(scale: Callable[[Choice], float], options: Options = OPTIONS) -> list[Trial]:
    """All trials of a whole search, the best last."""
    trials: list[Trial] = []
    while (choice := search(FIRST, options, trials).next) is not None:
        trials.append(Trial(choice=choice, samples=samples(scale(choice))))
    best = search(FIRST, options, trials).best
    assert best is not None
    return [*trials, best]


def test_nothing_better() -> None:
    """On a machine where all is equally fast the guess stays, and all was tried once."""
    *trials, best = found_by(lambda choice: 1.0)
    assert best.choice == FIRST
    assert len({trial.choice for trial in trials}) == len(trials) == MOST_TRIALS


def test_noise_does_not_choose() -> None:
    """What saves less than a twentieth is not taken."""
    assert found_by(lambda choice: 0.96 if choice != FIRST else 1.0)[-1].choice == FIRST


def test_each_for_itself() -> None:
    """Where things matter independently, the best of each is found."""
    best = Choice(
        variant="requantized",
        flash_attention=True,
        ubatch_tokens=128,
        threads=4,
        threads_batch=16,
    )

    def scale(choice: Choice) -> float:
        mine, other = msgspec.structs.astuple(choice), msgspec.structs.astuple(best)
        return float(1.2 ** sum(a != b for a, b in zip(mine, other, strict=True)))

    assert found_by(scale)[-1].choice == best


def test_what_fails_is_not_taken() -> None:
    """A choice that cannot be measured is not taken, nor tried again."""
    failed = msgspec.structs.replace(FIRST, variant="requantized")
    trials = [Trial(choice=FIRST, samples=samples(1.0)), Trial(choice=failed, failure="no")]
    now = search(FIRST, OPTIONS, trials)
    assert now.best == trials[0]
    assert now.next == msgspec.structs.replace(FIRST, flash_attention=True)


def test_even_the_guess_may_fail() -> None:
    """If the guess cannot be measured, another is taken."""
    trials = [Trial(choice=FIRST, failure="no")]
    while (choice := search(FIRST, OPTIONS, trials).next) is not None:
        trials.append(Trial(choice=choice, samples=samples(1.0)))
    best = search(FIRST, OPTIONS, trials).best
    assert best is not None
    assert best.samples is not None


def test_what_may_not_be_chosen() -> None:
    """What the operator set, or the machine does not have, is not tried."""
    options = Options(flash_attention=(), ubatch_tokens=())
    assert [trial.choice for trial in found_by(lambda choice: 1.0, options)] == [FIRST, FIRST]


@given(st.data())
def test_any_machine(data: st.DataObject) -> None:
    """On any machine the search ends, with the best that it has measured or one within the
    margin of a step, and goes on after an interruption as if there had been none."""
    costs: dict[Choice, float] = {}

    def scale(choice: Choice) -> float:
        if choice not in costs:
            costs[choice] = data.draw(st.floats(0.5, 2.0))
        return costs[choice]

    *trials, best = found_by(scale)
    assert len(trials) <= MOST_TRIALS
    assert costs[best.choice] <= costs[FIRST]
    forgotten = data.draw(st.integers(0, len(trials)))
    shuffled = data.draw(st.permutations(trials[:forgotten]))
    now = search(FIRST, OPTIONS, shuffled)
    expected = trials[forgotten].choice if forgotten < len(trials) else None
    assert now.next == expected


@given(a=st.floats(1e-4, 1.0), b=st.floats(1e-8, 1e-4), depths=st.sets(st.integers(1, 9999)))
def test_lines(a: float, b: float, depths: set[int]) -> None:
    """A straight line is found again from samples on it; from one sample, a flat one."""
    if not depths:
        return
    points = [Sample(depth=depth, seconds=a + b * depth) for depth in depths]
    found = line(points)
    if len(depths) == 1:
        assert found[0] + found[1] * points[0].depth == pytest.approx(points[0].seconds)
    else:
        assert found[0] == pytest.approx(a, rel=1e-3)
        assert found[1] == pytest.approx(b, rel=1e-3)


@given(st.lists(st.tuples(st.floats(1, 1e5), st.floats(1e-6, 10)), min_size=1))
def test_any_samples(points: list[tuple[float, float]]) -> None:
    """Whatever was measured, both coefficients are positive: a model never computes for free."""
    found = line([Sample(depth=depth, seconds=seconds) for depth, seconds in points])
    assert min(found) > 0


def test_cost() -> None:
    """All three parts of the work count: prompts, answers alone, answers beside others."""
    whole = cost_s(Trial(choice=FIRST, samples=samples(1.0)))
    for name, value in (
        ("prefill", samples(2.0).prefill),
        ("decode", samples(2.0).decode),
        ("crowd_s", samples(2.0).crowd_s),
    ):
        slower = msgspec.structs.replace(samples(1.0), **{name: value})
        assert cost_s(Trial(choice=FIRST, samples=slower)) > 1.1 * whole


def test_threads() -> None:
    """Cores, one less, half of many, and hardware threads; two cores leave nothing to try."""
    assert thread_options(2, 2) == (2,)
    assert thread_options(4, 4) == (3, 4)
    assert thread_options(8, 16) == (4, 7, 8, 16)


def test_speeds_and_words() -> None:
    """What is kept are the lines; what is said has the best first."""
    assert speeds(samples(1.0)).crowd_s == 0.04
    slow, fast = (
        Trial(choice=FIRST, samples=samples(2.0)),
        Trial(choice=msgspec.structs.replace(FIRST, flash_attention=True), samples=samples(1.0)),
    )
    assert explain([slow, fast]).startswith("given flash_attention=on ubatch=256 threads=8/8: ")
