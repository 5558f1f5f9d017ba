"""Who lies where in the context's memory: carries out what the prefix cache decides.

The order of the steps of a lease, and why, is told in `lease.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from fallback.local.worker.lease import Copy, Keep, Lease, Save
from fallback.local.worker.prefix_cache import PrefixCache

Blob = npt.NDArray[np.uint8]


def from_bytes(state: bytes) -> Blob:
    """A state as it was written to disk."""
    return np.frombuffer(state, dtype=np.uint8)


class Memory(Protocol):
    """What `llama.kv.KvMemory` can do; there it is told how."""

    def holds(self, slot: int, tokens: int) -> bool: ...
    def clear(self, slot: int) -> None: ...
    def cut(self, slot: int, tokens: int) -> bool: ...
    def copy(self, source: int, slot: int) -> bool: ...
    def take(self, slot: int) -> Blob: ...
    def put(self, slot: int, blob: Blob) -> bool: ...


class Residence:
    """The memory of one context and the states beside it. The decode thread's.

    `read` gives the state of a key from disk, or None.
    """

    def __init__(
        self, cache: PrefixCache, memory: Memory, read: Callable[[str], Blob | None]
    ) -> None:
        self._cache = cache
        self._memory = memory
        self._read = read
        self._blobs: dict[str, Blob] = {}
        self._bad: list[str] = []

    def __repr__(self) -> str:
        return f"<Residence states={len(self._blobs)} {self._cache!r}>"

    def enter(self, id: int, tokens: Sequence[int], now: float) -> tuple[int, int]:
        """A slot for a sequence that begins with these tokens, and how many of them lie there."""
        lease = self._cache.acquire(id, tokens, now)
        for save in lease.saves:
            self.save(save)
        if self._bring(lease):
            return lease.slot, lease.reused
        self._memory.clear(lease.slot)
        for key in self._cache.failed(id):
            self._blobs.pop(key, None)
            self._bad.append(key)
        return lease.slot, 0

    def take_bad(self) -> list[str]:
        """The keys of states that turned out to be no good since the last call: the disk need not
        keep them."""
        bad, self._bad = self._bad, []
        return bad

    def grown(self, id: int, computed: int) -> None:
        """The slot of a running sequence holds so many of its tokens now."""
        self._cache.grown(id, computed)

    def leave(self, id: int, tokens: Sequence[int], now: float) -> None:
        """The sequence ends, or makes room: its slot holds exactly these tokens."""
        self._cache.release(id, tokens, now)

    def save(self, save: Save) -> Blob | None:
        """Keep a state beside the context, as far as there is room."""
        blob = self._memory.take(save.slot) if self._memory.holds(save.slot, save.tokens) else ()
        if not len(blob):
            self._cache.lost(save.key)
            return None
        kept = np.asarray(blob)
        self._blobs[save.key] = kept
        self.let_go(self._cache.saved(save.key, len(kept)))
        return kept

    def pack(self) -> None:
        """The context goes away: keep what lies in it beside it. Nothing may run."""
        for save in self._cache.clear_slots():
            self.save(save)

    def move(self, memory: Memory, slots: int) -> None:
        """There is another context, of so many slots."""
        self._memory = memory
        self._cache.resize(slots)

    def let_go(self, keys: Iterable[str]) -> None:
        """Drop these states from RAM."""
        for key in keys:
            self._blobs.pop(key, None)

    def blob(self, key: str) -> Blob | None:
        """A state that is kept beside the context."""
        return self._blobs.get(key)

    def _bring(self, lease: Lease) -> bool:
        """Have the first `reused` tokens in the slot; False where that cannot be."""
        source, memory = lease.source, self._memory
        if source is None:
            memory.clear(lease.slot)
            return True
        if isinstance(source, Copy):
            brought = memory.copy(source.slot, lease.slot)
        elif isinstance(source, Keep):
            brought = True
        else:
            blob = self._blobs.get(source.key)
            blob = self._read(source.key) if blob is None else blob
            brought = blob is not None and memory.put(lease.slot, blob)
        return (
            brought
            and memory.cut(lease.slot, lease.reused)
            and memory.holds(lease.slot, lease.reused)
        )
