"""Where a sequence that starts finds its beginning, and whom it displaces. Pure.

Rules of this file:
- The longest beginning wins, wherever it lies: computing 1,000 tokens takes seconds, restoring
  them 10 ms. Of equals the cheapest wins: keep, copy, restore from RAM, from disk.
- A sequence starts in the slot where the least is lost: one that holds its own beginning or
  nothing that is not held elsewhere; else the one used longest ago, whose state is saved first.
- In a unified memory (`cells` given) idle residents give way where running sequences need their
  cells. Shared cells are counted as if they were not, so the memory cannot overflow.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from fallback.local.worker.lease import Copy, Keep, Restore, Save, Source
from fallback.local.worker.saved_states import SavedState, SavedStates, key_of
from fallback.local.worker.token_trie import TOKEN_BYTES, common, length


class Slot:
    """One of the context's sequences. `id` is None while it is idle.

    `tokens` (packed) is what it holds or, running, what it is to compute first, of which it
    holds `computed`. `reserved` is the most it may come to hold.
    """

    __slots__ = ("backed_up", "computed", "id", "number", "reserved", "tokens", "used_at")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id: int | None = None
        self.empty()

    def __repr__(self) -> str:
        return f"<Slot {self.number} id={self.id} computed={self.computed}>"

    def empty(self) -> None:
        self.hold(b"", 0, used_at=float("-inf"), reserved=0)

    def hold(self, tokens: bytes, computed: int, *, used_at: float, reserved: int) -> None:
        self.tokens = tokens
        self.computed = computed
        self.used_at = used_at
        self.reserved = reserved
        self.backed_up = False


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """The longest beginning that is held, and who holds it: slots by number, and a state."""

    tokens: int = 0
    slots: tuple[int, ...] = ()
    state: SavedState | None = None


class Option(msgspec.Struct, frozen=True, kw_only=True):
    """A way to start a sequence: where, from what, and what has to go."""

    slot: Slot
    reused: int
    source: Source | None
    saves: tuple[Save, ...]
    evicted: tuple[Slot, ...]

    @property
    def rank(self) -> tuple[int, int, int, float, int]:
        """The least is lost first, then the least is done; the last used is left alone."""
        cost = 0 if self.saves else _cost(self.source)
        return len(self.saves), len(self.evicted), cost, self.slot.used_at, self.slot.number


class Placement:
    """Looks at the slots and the states, and decides; changes neither. See `PrefixCache` for the
    arguments."""

    def __init__(
        self,
        slots: tuple[Slot, ...],
        states: SavedStates,
        *,
        min_tokens: int,
        cells: int | None,
        cuttable: bool,
    ) -> None:
        self._slots = slots
        self._states = states
        self._min_tokens = min_tokens
        self._cells = cells
        self._cuttable = cuttable

    def __repr__(self) -> str:
        return f"<Placement slots={self._slots} cells={self._cells} cuttable={self._cuttable}>"

    def of(self, slots: tuple[Slot, ...]) -> Placement:
        """The same rules over other slots."""
        return Placement(
            slots,
            self._states,
            min_tokens=self._min_tokens,
            cells=self._cells,
            cuttable=self._cuttable,
        )

    def best(self, tokens: bytes, reserved: int) -> Option | None:
        """How to start a sequence that may come to have `reserved` tokens; None where there is no
        slot or no room."""
        options = list(self._options(tokens, reserved, self.find(tokens)))
        # A saved state may need more room than there is, though the sequence does not.
        options = options or list(self._options(tokens, reserved, Found()))
        return min(options, key=lambda option: option.rank, default=None)

    def find(self, tokens: bytes) -> Found:
        """The longest beginning worth its reuse, all but the last token at most."""
        limit = length(tokens) - 1
        reaches = {
            slot.number: self._reach(common(slot.tokens, tokens), slot.computed, limit)
            for slot in self._slots
        }
        reach, state = self._find_state(tokens, limit)
        best = max(reach, *reaches.values())
        if best < self._min_tokens:
            return Found()
        holders = tuple(number for number, each in reaches.items() if each == best)
        return Found(tokens=best, slots=holders, state=state if reach == best else None)

    def saves(
        self, victims: Iterable[Slot], heir: bytes = b"", gone: Iterable[int] = ()
    ) -> Iterator[Save]:
        """What to save before these are displaced, one after the other, while their successor
        holds the tokens of `heir` and the slots `gone` do not count."""
        without = set(gone)
        for slot in victims:
            without.add(slot.number)
            if save := self._save(slot, self._kept(slot, heir, without)):
                yield save

    def _find_state(self, tokens: bytes, limit: int) -> tuple[int, SavedState | None]:
        reach, best = 0, None
        for shared, state in self._states.alike(tokens):
            in_ram = best is not None and best.ram_bytes is not None
            if min(shared, limit) < reach + in_ram:
                break
            each = self._reach(shared, length(state.tokens), limit)
            if each > reach or (each == reach > 0 and state.ram_bytes is not None):
                reach, best = each, state
        return reach, best

    def _reach(self, shared: int, held: int, limit: int) -> int:
        """How many tokens one serves with that holds `held`, of which the first are `shared`."""
        if self._cuttable:
            return min(shared, held, limit)
        return held if held <= min(shared, limit) else 0

    def _options(self, tokens: bytes, reserved: int, found: Found) -> Iterator[Option]:
        for slot in self._slots:
            if slot.id is not None:
                continue
            source = _source(slot, found)
            need = max(reserved, source.tokens) if isinstance(source, Restore) else reserved
            evicted = self._evictions(slot, source, need)
            if evicted is not None:
                beginning = tokens[: found.tokens * TOKEN_BYTES]
                yield Option(
                    slot=slot,
                    reused=found.tokens,
                    source=source,
                    saves=tuple(self.saves((slot, *evicted), beginning)),
                    evicted=evicted,
                )

    def _evictions(self, slot: Slot, source: Source | None, need: int) -> tuple[Slot, ...] | None:
        """The residents that give way for `need` cells; None where that is not enough."""
        if self._cells is None:
            return ()
        others = [each for each in self._slots if each is not slot]
        excess = sum(max(each.reserved, each.computed) for each in others) + need - self._cells
        origin = source.slot if isinstance(source, Copy) else None
        idle = [s for s in others if s.id is None and s.computed and s.number != origin]
        evicted = []
        for each in sorted(idle, key=lambda s: s.used_at):
            if excess <= 0:
                break
            evicted.append(each)
            excess -= each.computed
        return tuple(evicted) if excess <= 0 else None

    def _save(self, slot: Slot, kept: int) -> Save | None:
        """None where too little would be lost, or the budget is too small for it."""
        if slot.computed - kept < self._min_tokens or not self._states.may_fit(slot.computed):
            return None
        return Save(key=key_of(slot.tokens), slot=slot.number, tokens=slot.computed)

    def _kept(self, slot: Slot, heir: bytes, gone: set[int]) -> int:
        """How many tokens of an idle slot are held elsewhere too."""
        others = [each for each in self._slots if each.number not in gone]
        if not self._cuttable:
            same = any(s.id is None and s.tokens == slot.tokens for s in others)
            return slot.computed if same or key_of(slot.tokens) in self._states else 0
        return max(
            common(slot.tokens, heir),
            next((shared for shared, _ in self._states.alike(slot.tokens)), 0),
            *(min(common(slot.tokens, each.tokens), each.computed) for each in others),
        )


def _source(slot: Slot, found: Found) -> Source | None:
    if slot.number in found.slots:
        return Keep()
    if found.slots:
        return Copy(found.slots[0])
    if found.state is not None:
        return Restore(found.state.key, length(found.state.tokens))
    return None


def _cost(source: Source | None) -> int:
    return 1 if isinstance(source, Copy) else 2 if isinstance(source, Restore) else 0
