"""Which states of sequences are kept outside the context, in RAM and on disk. Pure.

This is the index; the bytes themselves lie with the executor (RAM) and in `spill.SpillStore`.

Rules of this file:
- A state's key is a hash of its tokens: the same tokens are never kept twice, and a state has the
  same key after a restart.
- RAM holds at most the budget; what was used longest ago goes first. A state that is the
  beginning of one that comes in says nothing more than that one, and goes at once, unless the
  model's memory cannot be cut, when only a whole state serves.
- A state that leaves RAM stays known while it is on disk. One that is on disk and lies in a slot
  as well takes no RAM: its slot is nearer, and where that is displaced, it is read in a tenth of
  a second.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from fallback.local.worker.lease import Spill
from fallback.local.worker.token_trie import TokenTrie, length


def key_of(tokens: bytes) -> str:
    """The key of the state of these packed tokens: 32 hexadecimal digits."""
    return hashlib.blake2b(tokens, digest_size=16).hexdigest()


class SavedState:
    """One state: `tokens` packed; `ram_bytes` is None where RAM does not hold it."""

    __slots__ = ("key", "offered", "on_disk", "ram_bytes", "tokens")

    def __init__(self, key: str, tokens: bytes) -> None:
        self.key = key
        self.tokens = tokens
        self.ram_bytes: int | None = None
        self.on_disk = False
        self.offered = False

    def __repr__(self) -> str:
        return (
            f"<SavedState {self.key[:8]} tokens={length(self.tokens)}"
            f" ram_bytes={self.ram_bytes} on_disk={self.on_disk}>"
        )


class SavedStates:
    """The states by their tokens. `cuttable`: a state serves for each of its beginnings."""

    def __init__(self, *, budget_bytes: int, cuttable: bool) -> None:
        self._budget_bytes = budget_bytes
        self._cuttable = cuttable
        self._by_key: dict[str, SavedState] = {}
        self._in_ram: OrderedDict[str, SavedState] = OrderedDict()
        self._trie: TokenTrie[SavedState] = TokenTrie()
        self._too_many_tokens = math.inf if budget_bytes else 0
        self._longest = (1, 0)
        self._pinned: str | None = None
        self.ram_bytes = 0

    def __repr__(self) -> str:
        return (
            f"<SavedStates known={len(self._by_key)} in_ram={len(self._in_ram)}"
            f" ram_bytes={self.ram_bytes}/{self._budget_bytes}>"
        )

    def __contains__(self, key: str) -> bool:
        return key in self._by_key

    def alike(self, tokens: bytes) -> Iterator[tuple[int, SavedState]]:
        """The states that begin as `tokens` do, with how many tokens, the most first. Callable
        from any thread."""
        return self._trie.alike(tokens)

    def may_fit(self, tokens: int) -> bool:
        """Whether a state of so many tokens is worth making: none as short was too large."""
        return tokens < self._too_many_tokens

    def has_room(self, tokens: int) -> bool:
        """Whether such a state is likely to fit beside what would be lost for it."""
        longest, size = self._longest
        return self.may_fit(tokens) and size * tokens / longest <= self._room(self._lasting())

    def use(self, key: str | None) -> None:
        """A state is being restored: it is the last to be dropped, and not before another is."""
        self._pinned = key
        if key is not None and key in self._in_ram:
            self._in_ram.move_to_end(key)

    def add(self, key: str, tokens: bytes, size: int, *, modest: bool = False) -> tuple[str, ...]:
        """RAM holds this state now. Returns what it has to drop, which may be the same: where it
        does not fit beside the one being restored, or, if it is `modest`, where it would push out
        one that is nowhere else."""
        self._longest = max(self._longest, (length(tokens), size))
        if size > self._budget_bytes:
            self._too_many_tokens = min(self._too_many_tokens, length(tokens))
        spared = self._lasting() if modest else self._pinned_state()
        if size > self._room(spared):
            return (key,)
        state = self._known(key, tokens)
        self.ram_bytes += size - (state.ram_bytes or 0)
        state.ram_bytes = size
        self._in_ram[key] = state
        self._in_ram.move_to_end(key)
        dropped = [each for each in self._beginnings(state) if self._leave_ram(each)]
        while self.ram_bytes > self._budget_bytes:
            oldest = next(each for each in self._in_ram.values() if each not in spared)
            self._leave_ram(oldest)
            dropped.append(oldest)
        return tuple(each.key for each in dropped)

    def forget(self, key: str) -> None:
        """This state is nowhere any more."""
        if state := self._by_key.get(key):
            state.on_disk = False
            self._leave_ram(state)
            self._leave_index(state)

    def next_spill(self) -> Spill | None:
        """The state to write to disk next, the last used first. Each is offered once."""
        for state in reversed(self._in_ram.values()):
            if not (state.on_disk or state.offered):
                state.offered = True
                return Spill(key=state.key, tokens=state.tokens)
        return None

    def spilled(self, spill: Spill, dropped: Iterable[str]) -> tuple[str, ...]:
        """A state was written to disk, and others made room for it. Returns the keys that the
        disk need not keep, now that it has a longer one."""
        gone = frozenset(dropped)
        if spill.key not in gone:
            self._known(spill.key, spill.tokens).on_disk = True
        for key in gone & self._by_key.keys():
            self._leave_disk(self._by_key[key])
        if spill.key not in self._by_key:
            return ()
        nested = [s for s in self._beginnings(self._by_key[spill.key]) if s.on_disk]
        for state in nested:
            self._leave_disk(state)
        return tuple(state.key for state in nested)

    def let_go(self, key: str) -> bool:
        """Have a state leave RAM that is on disk too; whether it did."""
        state = self._by_key.get(key)
        return state is not None and state.on_disk and self._leave_ram(state)

    def adopt(self, spills: Iterable[Spill]) -> None:
        """These are on disk, from an earlier run."""
        for spill in spills:
            self._known(spill.key, spill.tokens).on_disk = True

    def _lasting(self) -> list[SavedState]:
        """The states that RAM alone holds."""
        return [state for state in self._in_ram.values() if not state.on_disk]

    def _pinned_state(self) -> list[SavedState]:
        state = self._in_ram.get(self._pinned or "")
        return [] if state is None else [state]

    def _room(self, beside: Iterable[SavedState]) -> int:
        return self._budget_bytes - sum(state.ram_bytes or 0 for state in beside)

    def _beginnings(self, of: SavedState) -> list[SavedState]:
        """The states that say nothing more than a longer one."""
        if not self._cuttable:
            return []
        alike = self._trie.alike(of.tokens)
        return [s for common, s in alike if s is not of and common == length(s.tokens)]

    def _known(self, key: str, tokens: bytes) -> SavedState:
        state = self._by_key.get(key)
        if state is None:
            state = self._by_key[key] = SavedState(key, tokens)
            self._trie = self._trie.insert(tokens, state)
        return state

    def _leave_ram(self, state: SavedState) -> bool:
        if state.ram_bytes is None:
            return False
        self.ram_bytes -= state.ram_bytes
        state.ram_bytes = None
        del self._in_ram[state.key]
        self._leave_index(state)
        return True

    def _leave_disk(self, state: SavedState) -> None:
        state.on_disk = False
        self._leave_index(state)

    def _leave_index(self, state: SavedState) -> None:
        """Forget a state that is nowhere."""
        if state.ram_bytes is None and not state.on_disk and state.key in self._by_key:
            del self._by_key[state.key]
            self._trie = self._trie.remove(state.tokens, state)
