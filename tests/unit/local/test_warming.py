"""The pace of keeping conversations warm."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.warming import STEP_S, Warming

SHARES = st.floats(0.01, 1.0)
CORES = st.integers(1, 128)


def warming(cpu: float, *, cores: int = 4, threads: int | None = None) -> Warming:
    made = Warming(cores=cores, threads=cores if threads is None else threads)
    made.pace(cpu)
    return made


def test_nothing_runs_before_the_parent_has_said_how_much_may() -> None:
    """A worker that was told nothing computes nothing of its own accord."""
    assert Warming(cores=4, threads=4).wait_s(0.0) == math.inf


def test_a_pause_holds_until_the_next_word() -> None:
    """A share of zero stops the steps, any other lets them go on."""
    paused = warming(0.5)
    paused.pace(0.0)
    assert not paused.may_run(1e9)
    paused.pace(0.5)
    assert paused.may_run(0.0)


@given(cpu=SHARES, cores=CORES, steps=st.lists(st.floats(0.001, 10.0), min_size=1, max_size=30))
def test_the_share_is_never_exceeded(cpu: float, cores: int, steps: list[float]) -> None:
    """However long its steps take, over any number of them it uses no more than its share."""
    pace = warming(cpu, cores=cores)
    now = used = 0.0
    for took_s in steps:
        now += pace.wait_s(now)
        assert pace.may_run(now + 1e-6)
        used += took_s * pace.threads
        now += took_s
        pace.worked(now, took_s, 32)
    assert used <= cpu * cores * (now + pace.wait_s(now)) * (1 + 1e-6)


@given(cpu=st.floats(0.01, 0.99), cores=st.integers(2, 128))
def test_a_core_is_left_to_others(cpu: float, cores: int) -> None:
    """Below the whole machine, it never computes with all cores, and always with one."""
    assert 1 <= warming(cpu, cores=cores).threads <= cores - 1


def test_few_threads_all_the_time_instead_of_all_in_bursts() -> None:
    """A quarter of eight cores is two threads that never rest."""
    pace = warming(0.25, cores=8)
    assert pace.threads == 2
    pace.worked(1.0, 0.1, 32)
    assert pace.wait_s(1.0) == pytest.approx(0.0)


def test_what_one_thread_takes_too_much_is_rested() -> None:
    """A quarter of two cores is one thread half of the time."""
    pace = warming(0.25, cores=2)
    pace.worked(10.0, 0.2, 32)
    assert pace.wait_s(10.0) == pytest.approx(0.2)
    assert pace.may_run(10.3)


def test_suspicion_ends_the_rest_at_once() -> None:
    """With all of the machine allowed, the rest of a slower pace is not sat out."""
    pace = warming(0.01, cores=4)
    pace.worked(10.0, 1.0, 32)
    assert pace.wait_s(10.0) > 10
    pace.pace(1.0)
    assert pace.may_run(10.0)
    assert pace.threads == 4


@given(token_s=st.floats(1e-5, 1.0))
def test_steps_become_as_short_as_they_should_be(token_s: float) -> None:
    """After a few steps one takes about STEP_S, unless even the smallest takes longer."""
    pace = warming(1.0)
    for step in range(20):
        pace.worked(float(step), pace.tokens * token_s, pace.tokens)
    took_s = pace.tokens * token_s
    assert took_s <= STEP_S * 1.01 or pace.tokens == 16
    assert took_s >= STEP_S * 0.5 or pace.tokens in (16, 512)
