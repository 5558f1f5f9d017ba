"""Where a sequence that starts finds its beginning, and whom it displaces. Pure.

Rules of this file:
- The longest beginning wins, wherever it lies: computing 1,000 tokens takes seconds, restoring
  them 10 ms. Of equals the cheapest wins: keep, copy, restore from RAM, from disk.
- A sequence starts in the slot where the least is lost: one that holds its own beginning or
  nothing that is not held elsewhere; else the one used longest ago, whose state is saved first.
- What lies in a slot is worth its reuse from a few tokens on, such as a template's usual system
  message; a saved state from as many as are worth saving, and an eighth of the whole.
- A state longer than a slot cannot be restored, not even a part of it, and counts as not there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import msgspec

from fallback.local.worker.lease import Copy, Keep, Restore, Save, Source
from fallback.local.worker.saved_states import SavedState, SavedStates, key_of
from fallback.local.worker.token_trie import TOKEN_BYTES, common, length

_WORTH_COPYING = 8
# A state is as large as all of its sequence: for an answer that nobody went on from, at the end
# of a long prompt that is held elsewhere, it is too much, and takes longer than it saves.
_LEAST_SHARE = 1 / 8


class Slot:
    """One of the context's sequences. `id` is None while it is idle.

    `tokens` (packed) is what it holds or, running, what it is to compute first, of which it
    holds `computed`.
    """

    __slots__ = ("backed_up", "computed", "id", "number", "tokens", "used_at")

    def __init__(self, number: int) -> None:
        self.number = number
        self.id: int | None = None
        self.empty()

    def __repr__(self) -> str:
        return f"<Slot {self.number} id={self.id} computed={self.computed}>"

    def empty(self) -> None:
        self.hold(b"", 0, used_at=-math.inf)

    def hold(self, tokens: bytes, computed: int, *, used_at: float) -> None:
        self.tokens = tokens
        self.computed = computed
        self.used_at = used_at
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

    @property
    def rank(self) -> tuple[int, int, float, int]:
        """The least is lost first, then the least is done; the last used is left alone."""
        cost = 0 if self.saves else _cost(self.source)
        return len(self.saves), cost, self.slot.used_at, self.slot.number


class Placement:
    """Looks at the slots and the states, and decides; changes neither. See `PrefixCache` for the
    arguments."""

    def __init__(
        self,
        slots: tuple[Slot, ...],
        states: SavedStates,
        *,
        slot_tokens: int,
        min_tokens: int,
        cuttable: bool,
    ) -> None:
        self._slots = slots
        self._states = states
        self._slot_tokens = slot_tokens
        self._min_tokens = min_tokens
        self._cuttable = cuttable

    def __repr__(self) -> str:
        return f"<Placement slots={self._slots} slot_tokens={self._slot_tokens}>"

    def best(self, tokens: bytes) -> Option | None:
        """How to start a sequence; None where all slots are running."""
        found = self.find(tokens)
        free = (slot for slot in self._slots if slot.id is None)
        options = (self._option(slot, tokens, found) for slot in free)
        return min(options, key=lambda option: option.rank, default=None)

    def find(self, tokens: bytes) -> Found:
        """The longest beginning worth its reuse, all but the last token at most."""
        limit = length(tokens) - 1
        reaches = {
            slot.number: self._reach(common(slot.tokens, tokens), slot.computed, limit)
            for slot in self._slots
        }
        reach, state = self._find_state(tokens, limit)
        if reach < self._min_tokens:
            reach = 0
        best = max(reach, *reaches.values())
        if best < min(_WORTH_COPYING, self._min_tokens):
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
        # Who asks ahead may do so for a sequence that will have a larger slot made for it.
        room = max(self._slot_tokens, length(tokens))
        for shared, state in self._states.alike(tokens):
            in_ram = best is not None and best.ram_bytes is not None
            if min(shared, limit) < reach + in_ram:
                break
            if length(state.tokens) > room:
                continue
            each = self._reach(shared, length(state.tokens), limit)
            if each > reach or (each == reach > 0 and state.ram_bytes is not None):
                reach, best = each, state
        return reach, best

    def _reach(self, shared: int, held: int, limit: int) -> int:
        """How many tokens one serves with that holds `held`, of which the first are `shared`."""
        if self._cuttable:
            return min(shared, held, limit)
        return held if held <= min(shared, limit) else 0

    def _option(self, slot: Slot, tokens: bytes, found: Found) -> Option:
        beginning = tokens[: found.tokens * TOKEN_BYTES]
        return Option(
            slot=slot,
            reused=found.tokens,
            source=_source(slot, found),
            saves=tuple(self.saves((slot,), beginning)),
        )

    def _save(self, slot: Slot, kept: int) -> Save | None:
        """None where too little would be lost, or the budget is too small for it."""
        lost = slot.computed - kept
        if lost < max(self._min_tokens, slot.computed * _LEAST_SHARE):
            return None
        if not self._states.may_fit(slot.computed):
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
