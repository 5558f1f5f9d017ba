"""What the worker's threads share: two queues, the requests still wanted, and the gauges.

- The *reader* takes the parent's messages, answers pings, and never computes anything.
- The *intake* fits, renders and tokenizes: `Generate` becomes `Prepared`.
- The *decoder* (the main thread) owns the model's context and everything that runs in it.
"""

from __future__ import annotations

import itertools
import queue
import threading
from typing import TypeAlias

from fallback.local import wire
from fallback.local.worker.prepared import Prepared

Errand: TypeAlias = wire.Generate | wire.Warm | wire.Count
Arrival: TypeAlias = Prepared | wire.Cancel | wire.Pace


class Desk:
    """`limit` bounds the requests taken in at once, counts and generations together."""

    def __init__(self, limit: int) -> None:
        self._errands: queue.PriorityQueue[tuple[bool, int, Errand]] = queue.PriorityQueue()
        self._serials = itertools.count()
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._limit = limit
        self._lock = threading.Lock()
        self._wanted: set[int] = set()
        self._active = 0
        self._progress = 0

    def __repr__(self) -> str:
        return f"<Desk wanted={len(self._wanted)} active={self._active} steps={self._progress}>"

    def take(self, errand: Errand) -> bool:
        """Queue a request for the intake; False when there are too many."""
        with self._lock:
            if len(self._wanted) >= self._limit:
                return False
            self._wanted.add(errand.id)
        self._errands.put((isinstance(errand, wire.Warm), next(self._serials), errand))
        return True

    def errand(self) -> Errand:
        """The next for the intake, in the order they came, what is to be warmed after all others;
        waits for one."""
        return self._errands.get()[2]

    def cancel(self, cancel: wire.Cancel) -> None:
        """The parent wants this no more: whoever meets it next drops it."""
        self.forget(cancel.id)
        self.arrivals.put(cancel)

    def forget(self, id: int) -> None:
        """This request is done."""
        with self._lock:
            self._wanted.discard(id)

    def wants(self, id: int) -> bool:
        """Whether anyone still waits for this."""
        with self._lock:
            return id in self._wanted

    def worked(self, active: int | None = None) -> None:
        """Count a piece of work done; the decoder also says how many it has in its slots."""
        with self._lock:
            self._progress += 1
            self._active = self._active if active is None else active

    def pong(self) -> wire.Pong:
        """The gauges now."""
        with self._lock:
            queued = max(0, len(self._wanted) - self._active)
            return wire.Pong(progress=self._progress, active=self._active, queued=queued)
