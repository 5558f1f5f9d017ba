"""Writes outages to the database off the way of requests: a thread, started at the first.

Rules of this file:
- `put` never waits and never raises: a slow, full, locked or lost disk is not a request's affair.
- Of each outage only the newest state waits. What could not be written stays and is tried again;
  over the limit the oldest is given up, counted and told.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from fallback.core.outages import Outage

_log = logging.getLogger("fallback.storage")

_LIMIT = 200
_RETRY_CAP_S = 60.0


class WriterStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`idle`: nothing was ever to be written. `waiting` outages are not on disk in their newest
    state; `lost` ones never will be."""

    state: Literal["idle", "ok", "failing"]
    waiting: int
    lost: int
    error: str | None


def retry_delay_s(failures: int) -> float:
    """Seconds until the next try after so many in a row failed."""
    return float(min(2.0 ** min(failures, 16), _RETRY_CAP_S))


class Writer:
    """`save` writes a batch, all or nothing, and raises where it cannot."""

    def __init__(
        self,
        save: Callable[[Sequence[Outage]], None],
        *,
        limit: int = _LIMIT,
        delay_s: Callable[[int], float] = retry_delay_s,
    ) -> None:
        self._save = save
        self._limit = limit
        self._delay_s = delay_s
        self._changed = threading.Condition()
        self._waiting: dict[str, Outage] = {}
        self._thread: threading.Thread | None = None
        self._closing = False
        self._lost = 0
        self._error: str | None = None

    def put(self, outage: Outage) -> None:
        """Have the outage written as it is now, soon."""
        with self._changed:
            self._keep({**self._waiting, outage.id: outage})
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="outages", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def status(self) -> WriterStatus:
        """How it stands, without waiting for the disk."""
        with self._changed:
            state: Literal["idle", "ok", "failing"] = "failing" if self._error else "ok"
            return WriterStatus(
                state="idle" if self._thread is None else state,
                waiting=len(self._waiting),
                lost=self._lost,
                error=self._error,
            )

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most; what remains is told in the log."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is None:
            return
        self._thread.join(timeout_s)
        if waiting := len(self._waiting):
            _log.error("%d outages are not on disk (%s)", waiting, self._error or "it is too slow")

    def _run(self) -> None:
        failures = 0
        while batch := self._next(failures):
            try:
                self._save(tuple(batch.values()))
            except Exception as error:  # noqa: BLE001 - the last line: the thread must live on
                failures += 1
                self._failed(batch, str(error))
            else:
                failures = 0
                self._succeeded(batch)
            if self._closing and failures:
                return

    def _next(self, failures: int) -> dict[str, Outage]:
        """What waits, once there is something and it is time; empty at the end."""
        with self._changed:
            if failures:
                self._changed.wait_for(lambda: self._closing, self._delay_s(failures))
            self._changed.wait_for(lambda: self._waiting or self._closing)
            return dict(self._waiting)

    def _succeeded(self, batch: dict[str, Outage]) -> None:
        with self._changed:
            # What changed in the meantime waits on.
            self._waiting = {k: v for k, v in self._waiting.items() if v is not batch.get(k)}
            mended, self._error = self._error is not None, None
        if mended:
            _log.warning("outages are written again")

    def _failed(self, batch: dict[str, Outage], error: str) -> None:
        with self._changed:
            known, self._error = self._error, error
        if known != error:
            _log.error("outages cannot be written, %d wait: %s", len(batch), error)

    def _keep(self, waiting: dict[str, Outage]) -> None:
        while len(waiting) > self._limit:
            del waiting[next(iter(waiting))]
            self._lost += 1
            if self._lost == 1:
                _log.error("more outages wait for the disk than are kept: the oldest are lost")
        self._waiting = waiting
