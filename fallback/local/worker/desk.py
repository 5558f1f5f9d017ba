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

import msgspec

from fallback.local import wire
from fallback.local.worker.prepared import Prepared

Errand: TypeAlias = wire.Generate | wire.Warm | wire.Count


class Leave(msgspec.Struct, frozen=True):
    """The process ends: save what can be saved until then (the clock's time), and say `left`."""

    until: float
    left: threading.Event


class Gauges(msgspec.Struct, frozen=True, kw_only=True):
    """What the decoder tells of itself. `active`: sequences in a slot that somebody
    waits for."""

    active: int = 0
    expected_wait_s: float = 0.0
    prefill_tokens_per_s: float = 0.0
    decode_tokens_per_s: float = 0.0
    cache_bytes: int = 0


Arrival: TypeAlias = Prepared | wire.Cancel | wire.Pace | Leave


class Desk:
    """`limit` bounds the requests taken in at once, counts and generations together."""

    def __init__(self, limit: int) -> None:
        self._errands: queue.PriorityQueue[tuple[bool, int, Errand]] = queue.PriorityQueue()
        self._serials = itertools.count()
        self.arrivals: queue.SimpleQueue[Arrival] = queue.SimpleQueue()
        self._limit = limit
        self._lock = threading.Lock()
        self._wanted: set[int] = set()
        self._warming: set[int] = set()
        self._gauges = Gauges()
        self._progress = 0
        self.serving = False

    def __repr__(self) -> str:
        active = self._gauges.active
        return f"<Desk wanted={len(self._wanted)} active={active} steps={self._progress}>"

    def take(self, errand: Errand) -> bool:
        """Queue a request for the intake; False when there are too many."""
        with self._lock:
            if len(self._wanted) >= self._limit:
                return False
            self._wanted.add(errand.id)
            if isinstance(errand, wire.Warm):
                self._warming.add(errand.id)
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
            self._warming.discard(id)

    def wants(self, id: int) -> bool:
        """Whether anyone still waits for this."""
        with self._lock:
            return id in self._wanted

    def worked(self, gauges: Gauges | None = None) -> None:
        """Count a piece of work done; the decoder also tells of itself."""
        with self._lock:
            self._progress += 1
            self._gauges = gauges or self._gauges

    def pong(self) -> wire.Pong:
        """The gauges now. What only keeps warm may rest for as long as it likes: nobody waits."""
        with self._lock:
            waiting = len(self._wanted) - len(self._warming)
            return wire.Pong(
                progress=self._progress,
                queued=max(0, waiting - self._gauges.active),
                **msgspec.structs.asdict(self._gauges),
            )
