"""Writes receipts to the database off the way of requests: a thread, in batches.

Rules of this file:
- A batch is written when `interval_s` has passed since the last, again
  after a pause where it failed. What waits stays where it is until it is in the database.
- What a process that died has left behind is written first.
- The thread outlives every error: one that nobody thought of costs a pause.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import msgspec

from fallback.core.receipt import Receipt, us
from fallback.storage.journal import Journal, LeftBehind
from fallback.storage.lines import Line
from fallback.storage.pending import Pending
from fallback.storage.redaction import Redact, redacted
from fallback.storage.writer import retry_delay_s

if TYPE_CHECKING:
    from fallback.storage.ledger import Ledger

_log = logging.getLogger("fallback.storage")

_DAY_S = 86400.0
_TIDY_S = 3600.0
_RETRY_CAP_S = 10.0
_receipt = msgspec.json.Decoder(Receipt)


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how many receipts are kept."""

    days: float
    receipts: int


class LedgerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """`idle`: nothing was ever to be written. `waiting` receipts are not in the database yet;
    `lost` ones never will be. `journal`: whether what waits would outlive a kill."""

    state: Literal["idle", "ok", "failing"]
    written: int
    waiting: int
    lost: int
    journal: bool
    error: str | None


def _delay_s(failures: int) -> float:
    """Seconds until the next try: what waits is lost over the limit."""
    return min(retry_delay_s(failures), _RETRY_CAP_S)


class LedgerWriter:
    """`ledger` opens the chain; it may be slow the first time. `redact` is given the bodies that
    are kept. `clock` in Unix seconds."""

    def __init__(
        self,
        pending: Pending,
        ledger: Callable[[], Ledger],
        journal: Journal | None,
        retention: Retention,
        *,
        redact: Redact | None = None,
        interval_s: float = 1.0,
        delay_s: Callable[[int], float] = _delay_s,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._pending = pending
        self._ledger = ledger
        self._journal = journal
        self._retention = retention
        self._redact = redact
        self._interval_s = interval_s
        self._delay_s = delay_s
        self._clock = clock
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closing = False
        self._tidy_at = 0.0
        self._written = 0
        self._error: str | None = None

    def __repr__(self) -> str:
        return f"<LedgerWriter written={self._written} error={self._error!r} {self._pending!r}>"

    def start(self) -> None:
        """Begin to look; what was left behind is written at once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
            self._thread.start()

    def status(self) -> LedgerStatus:
        """How it stands, without waiting for the disk."""
        state: Literal["ok", "failing"] = "failing" if self._error else "ok"
        return LedgerStatus(
            state="idle" if self._thread is None else state,
            written=self._written,
            waiting=self._pending.waiting,
            lost=self._pending.lost,
            journal=self._journal is not None,
            error=self._error,
        )

    def close(self, timeout_s: float) -> None:
        """Write what waits, for so long at most; what remains is told in the log and stays for
        the next process, where there is a journal."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        if self._written:
            self._ledger().close()
        whole = self._pending.close()
        if self._journal is not None:
            self._journal.close(keep=not whole)
        if waiting := self._pending.waiting:
            fate = "wait for the next start" if self._journal is not None else "are lost"
            _log.error(
                "%d receipts %s (%s)", waiting, fate, self._error or "the database is too slow"
            )

    def _run(self) -> None:
        failures, recovered, last = 0, False, False
        while not last:
            last = self._closing  # and what waits by now is written in this turn, or stays
            try:
                recovered = recovered or self._recover()
                self._write(again=failures > 0)
                self._tidy()
            except Exception as error:  # noqa: BLE001 - the last line: the thread must live on
                failures += 1
                self._failed(str(error))
            else:
                failures = 0
                self._succeeded()
            self._wait(failures)

    def _wait(self, failures: int) -> None:
        pause_s = self._delay_s(failures) if failures else self._interval_s
        with self._changed:
            self._changed.wait_for(lambda: self._closing, pause_s)

    def _write(self, *, again: bool) -> None:
        """Write what waits; `again` after a failure, of which nobody knows how far it came."""
        parts, gap = self._pending.take()
        lines = [line for part in parts for line in part.lines]
        if lines or gap is not None:
            if self._redact is not None:
                lines = [redacted(line, self._redact) for line in lines]
            self._written += self._ledger().append(lines, gap, anew=again)
            self._pending.written(parts, gap)

    def _recover(self) -> bool:
        """Write what was left behind; True once it is done."""
        if self._journal is None:
            return True
        for left, folder in self._journal.left_behind():
            lines = _lines(left)
            if lines:
                self._written += self._ledger().append(lines, anew=True)
                _log.warning("%d receipts of a service that was killed are kept", len(lines))
            self._journal.forget(folder)
        return True

    def _tidy(self) -> None:
        """Delete what is older or more than is to be kept, now and then."""
        now = self._clock()
        if now < self._tidy_at or not self._written:
            return
        self._tidy_at = now + _TIDY_S
        self._ledger().prune(
            before_us=us(now - self._retention.days * _DAY_S),
            most_entries=self._retention.receipts,
        )

    def _succeeded(self) -> None:
        mended, self._error = self._error is not None, None
        if mended:
            _log.warning("receipts are written again")

    def _failed(self, error: str) -> None:
        known, self._error = self._error, error
        if known != error:
            _log.error("receipts cannot be written, %d wait: %s", self._pending.waiting, error)


def _lines(left: LeftBehind) -> list[Line]:
    """In the order in which the requests began."""
    found = [
        Line(content, _receipt.decode(content)) for content in (*left.receipts, *left.unanswered)
    ]
    return sorted(found, key=lambda line: line.receipt.started_us)
