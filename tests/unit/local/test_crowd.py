"""A step has as many threads as others leave cores."""

from __future__ import annotations

import pytest

from fallback.local.worker.crowd import LOOK_S, Crowd, Used


class Machine:
    """Cores on which others take `others` of a second each second, and we the rest we may."""

    def __init__(self, cores: int) -> None:
        self.now, self.all_s, self.own_s = 100.0, 500.0, 50.0
        self.crowd = Crowd(cores, self.now, self.used)

    @property
    def used(self) -> Used:
        return Used(all_s=self.all_s, own_s=self.own_s)

    def run(self, seconds: float, *, own: float, others: float) -> int:
        """So much later the crowd has looked as often as is due; how many threads there are."""
        until = self.now + seconds
        while self.now < until:
            self.now += LOOK_S
            self.all_s += LOOK_S * (own + others)
            self.own_s += LOOK_S * own
            assert self.crowd.is_due(self.now)
            self.crowd.look(self.now, self.used)
        return self.crowd.threads


@pytest.mark.parametrize(
    ("cores", "others", "threads"),
    [(2, 0.0, 2), (2, 0.1, 2), (2, 0.7, 1), (2, 2.0, 1), (16, 1.0, 15), (16, 7.5, 8), (1, 0.9, 1)],
)
def test_threads_that_have_a_core_each(cores: int, others: float, threads: int) -> None:
    """A little for the proxy and its clients is shared; what takes more is given a core."""
    assert Machine(cores).run(1.0, own=cores - others, others=others) == threads


def test_all_again_after_a_second_of_quiet() -> None:
    """One look is enough to give way; to come back takes a second without anybody."""
    machine = Machine(2)
    assert machine.run(LOOK_S, own=1.3, others=0.7) == 1
    assert machine.run(0.9, own=1.0, others=0.0) == 1
    assert machine.run(0.5, own=1.0, others=0.0) == 2


def test_one_that_comes_and_goes_is_given_a_core() -> None:
    """Half of every half second, in turn: it never meets two threads."""
    machine = Machine(2)
    machine.run(1.0, own=1.0, others=1.0)
    assert {
        machine.run(0.3, own=1.0, others=others) for _ in range(6) for others in (0.0, 1.0)
    } == {1}


def test_looks_are_not_too_short() -> None:
    """Clock ticks would blur them."""
    machine = Machine(2)
    assert not machine.crowd.is_due(machine.now + LOOK_S / 2)
    assert machine.crowd.is_due(machine.now + LOOK_S)


def test_what_others_did_while_nothing_was_computed() -> None:
    """It says nothing of now: the first step has all threads."""
    machine = Machine(2)
    machine.now, machine.all_s = machine.now + 60.0, machine.all_s + 120.0
    machine.crowd.rest(machine.now, machine.used)
    assert machine.run(0.3, own=2.0, others=0.0) == 2


def test_counters_that_went_back_tell_nothing() -> None:
    """A processor that was taken away, and its past with it."""
    machine = Machine(2)
    machine.crowd.look(machine.now + 1.0, Used(all_s=0.0, own_s=machine.own_s))
    assert machine.crowd.threads == 2
