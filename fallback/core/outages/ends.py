"""The first and the last of many: how something began and how it stands, in bounded room."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec

_T = TypeVar("_T")

FIRST = 25
LAST = 25


class Ends(msgspec.Struct, Generic[_T], frozen=True):
    """At most `FIRST` + `LAST` items; `omitted` is how many there were in between."""

    first: tuple[_T, ...] = ()
    last: tuple[_T, ...] = ()
    omitted: int = 0

    def __iter__(self) -> Iterator[_T]:
        yield from self.first
        yield from self.last

    def __len__(self) -> int:
        return len(self.first) + self.omitted + len(self.last)

    def plus(self, item: _T) -> Ends[_T]:
        """These and one more at the end."""
        if len(self.first) < FIRST:
            return Ends((*self.first, item))
        over = len(self.last) + 1 - LAST
        return Ends(self.first, (*self.last[max(0, over) :], item), self.omitted + max(0, over))

    def counted(self) -> Ends[_T]:
        """Only how many there are."""
        return Ends(omitted=len(self))
