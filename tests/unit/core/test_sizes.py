from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fallback.core.sizes import size_at_least, sizes_between

amounts = st.integers(0, 10**6)


@given(amounts)
def test_the_next_size_is_never_far(amount: int) -> None:
    """It holds the amount, and no size between would."""
    size = size_at_least(amount)
    assert size >= amount
    assert sizes_between(amount, size) == ()
    assert size == 16 or size <= amount * 1.5


@given(amounts, amounts)
def test_sizes_are_the_same_wherever_one_begins(low: int, high: int) -> None:
    """They are fixed, and come with the largest first."""
    sizes = sizes_between(low, high)
    assert list(sizes) == sorted(set(sizes), reverse=True)
    assert all(low <= size < high and size_at_least(size) == size for size in sizes)
