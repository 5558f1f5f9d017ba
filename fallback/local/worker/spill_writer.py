"""The thread that writes states to disk, beside the one that decodes.

The decode thread offers states when it is idle, and again at shutdown; later it takes in what
became of them:

    while writer.has_room and (spill := cache.spillable()):
        writer.write(spill, blobs[spill.key])
    for spill, dropped in writer.done():
        writer.drop(cache.spilled(spill, dropped))
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from fallback.local.worker.lease import Spill
from fallback.local.worker.spill import Blob, SpillStore

_Order: TypeAlias = tuple[Spill, Blob] | str | None
Written: TypeAlias = tuple[Spill, tuple[str, ...]]


class SpillWriter:
    """Writes and deletes in the order of the calls. At most `backlog` states wait, so that a slow
    disk holds no more memory than theirs."""

    def __init__(self, store: SpillStore, *, backlog: int = 4) -> None:
        self._store = store
        self._backlog = backlog
        self._room = threading.Condition()
        self._waiting = 0
        self._orders: queue.SimpleQueue[_Order] = queue.SimpleQueue()
        self._written: queue.SimpleQueue[Written] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spill", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<SpillWriter waiting={self._waiting}/{self._backlog} {self._store!r}>"

    @property
    def has_room(self) -> bool:
        """Whether another state may be written."""
        return self._waiting < self._backlog

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether another state may be written, now or after so long at most."""
        with self._room:
            return self._room.wait_for(lambda: self.has_room, timeout_s)

    @property
    def busy(self) -> bool:
        """Whether a state waits to be written, or its word to be taken."""
        return self._waiting > 0 or not self._written.empty()

    def write(self, spill: Spill, state: Blob) -> None:
        """Write this soon; it must not change any more. Raises `ValueError` when too many wait."""
        with self._room:
            if not self.has_room:
                raise ValueError(f"too many states wait: {self!r}")
            self._waiting += 1
        self._orders.put((spill, state))

    def drop(self, keys: Iterable[str]) -> None:
        """Delete these soon."""
        for key in keys:
            self._orders.put(key)

    def done(self) -> Iterator[Written]:
        """What was written since, and the keys that `SpillStore.write` deleted for each."""
        while not self._written.empty():
            yield self._written.get()

    def close(self, timeout_s: float) -> bool:
        """Do what is waiting, and end. False if that took too long: the rest is not written."""
        self._orders.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while self._carry_out(self._orders.get()):
            pass

    def _carry_out(self, order: _Order) -> bool:
        """A function of its own, so that no state outlives its order while the next is awaited."""
        if order is None:
            return False
        if isinstance(order, str):
            self._store.drop(order)
            return True
        spill, state = order
        self._written.put((spill, self._store.write(spill, state)))
        with self._room:
            self._waiting -= 1
            self._room.notify()
        return True
