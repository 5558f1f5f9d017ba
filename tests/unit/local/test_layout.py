"""Splitting a context into slots of equal size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.layout import Layout

CONTEXT = 1000

layouts = st.integers(1, 12).map(lambda slots: Layout(slots=slots, context_tokens=CONTEXT))
demands = st.lists(st.integers(1, CONTEXT), max_size=12)


def suits(slots: int, demand: list[int]) -> bool:
    """Each has a slot that is large enough."""
    return len(demand) <= slots and max(demand, default=0) <= CONTEXT // slots


@given(layouts, demands)
def test_what_fits_can_be_split(layout: Layout, demand: list[int]) -> None:
    """For what fits, each split that is chosen has enough slots, and they are large enough."""
    if layout.fits(demand):
        for slots in range(1, layout.slots + 1):
            assert suits(layout.split(demand, slots), demand)


@given(layouts, demands)
def test_what_does_not_fit_cannot_be_split(layout: Layout, demand: list[int]) -> None:
    """No split in powers of two, and none in all there may be, has a place for what is refused."""
    if not layout.fits(demand):
        powers = [1, 2, 4, 8]
        splits = [slots for slots in powers if slots < layout.slots] + [layout.slots]
        assert not any(suits(slots, demand) for slots in splits)


@given(layouts, demands)
def test_a_split_that_will_do_stays(layout: Layout, demand: list[int]) -> None:
    """The context is made anew only where somebody would have no place."""
    if layout.fits(demand):
        splits = {layout.slots, *(slots for slots in (1, 2, 4, 8) if slots < layout.slots)}
        for slots in splits:
            assert (layout.split(demand, slots) == slots) == suits(slots, demand)


@given(layouts, demands, st.integers(1, 12))
def test_fewer_and_smaller_fit_too(layout: Layout, demand: list[int], tokens: int) -> None:
    """What fits still does when one goes, or wants less."""
    if demand and layout.fits(demand):
        assert layout.fits(demand[1:])
        assert layout.fits([*demand[1:], min(tokens, demand[0])])


def test_one_has_all_of_it() -> None:
    """One sequence may have the whole context, however many slots there may be."""
    layout = Layout(slots=8, context_tokens=CONTEXT)
    assert layout.fits([CONTEXT])
    assert not layout.fits([CONTEXT + 1])
    assert not layout.fits([CONTEXT, 1])


def test_as_many_slots_as_the_largest_lets_there_be() -> None:
    """A new split leaves room for others beside those that are there."""
    layout = Layout(slots=8, context_tokens=CONTEXT)
    assert layout.split([1, 1], 1) == 8
    assert layout.split([CONTEXT // 4, 1], 1) == 4
    assert layout.split([CONTEXT // 4 + 1], 8) == 2


def test_a_number_of_slots_that_is_no_power_of_two() -> None:
    """All slots there may be are used, whatever their number."""
    layout = Layout(slots=6, context_tokens=CONTEXT)
    assert layout.fits([1] * 6)
    assert not layout.fits([1] * 7)
    assert layout.split([1] * 5, 4) == 6
