"""Coarse sizes: powers of the square root of two, from 16 on.

What is measured with them changes seldom while something grows, so that prompts which are cut
by them keep their beginning from turn to turn.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, takewhile

_SMALLEST_EXPONENT = 8


def size_at_least(amount: int) -> int:
    """The smallest size that is not below `amount`."""
    return next(size for size in _sizes() if size >= amount)


def sizes_between(low: int, high: int) -> tuple[int, ...]:
    """The sizes from `low` up to, but not, `high`; the largest first."""
    below = takewhile(lambda size: size < high, _sizes())
    return tuple(size for size in below if size >= low)[::-1]


def _sizes() -> Iterator[int]:
    return (round(2 ** (exponent / 2)) for exponent in count(_SMALLEST_EXPONENT))
