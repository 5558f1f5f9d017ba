"""Into how many slots of equal size a context is split. Pure.

Each sequence that runs has a slot to itself; then attention looks at its own tokens alone, which
is faster at depth, and what is computed does not depend on who else is there. One large slot or
several small ones take the same memory, so the split follows what runs: as many slots as the
largest sequence lets there be. Another split costs a tenth of a second (the context is made anew,
and what lies in it is taken out and put back), so one that will do stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """A context of `context_tokens` in all, in `slots` slots at most."""

    slots: int
    context_tokens: int

    def fits(self, reserved_tokens: Sequence[int]) -> bool:
        """Whether sequences that may come to have so many tokens can run together."""
        count, largest = len(reserved_tokens), max(reserved_tokens, default=0)
        return count <= self.slots and self._least(count) * largest <= self.context_tokens

    def split(self, reserved_tokens: Sequence[int], slots: int) -> int:
        """Into how many slots it should be split for these, where it is split into `slots` now."""
        least = self._least(len(reserved_tokens))
        most = self._most(max(reserved_tokens, default=0))
        return slots if least <= slots <= most else most

    def _least(self, count: int) -> int:
        return next(size for size in self._sizes() if size >= min(count, self.slots))

    def _most(self, tokens: int) -> int:
        fitting = [size for size in self._sizes() if size * tokens <= self.context_tokens]
        return max(fitting, default=1)

    def _sizes(self) -> tuple[int, ...]:
        """Powers of two, and all there may be."""
        powers = [1 << n for n in range(self.slots.bit_length()) if 1 << n < self.slots]
        return (*powers, self.slots)
