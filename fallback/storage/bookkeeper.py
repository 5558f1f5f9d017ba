"""Keeps the receipt of each request, and looks receipts up. The event loop's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fallback.core.receipt import Shown, begun
from fallback.core.record import FinishedRequest, Seen
from fallback.storage.errors import StorageError
from fallback.storage.journal import Journal, place_for
from fallback.storage.ledger_writer import LedgerWriter, Retention
from fallback.storage.making import ReceiptMaker
from fallback.storage.pending import Pending
from fallback.storage.redaction import Redact

if TYPE_CHECKING:
    from fallback.storage.keys import Keyring
    from fallback.storage.ledger import Ledger

_log = logging.getLogger("fallback.storage")

_CLOSE_S = 5.0


def bookkeeper(
    place: Path | str,
    keys: Path,
    retention: Retention,
    *,
    redact: Redact | None,
    waiting_bytes: int,
    max_body_bytes: int,
    software: str,
) -> Bookkeeper:
    """One with everything that it needs. `place` is the database, `keys` a folder. What is to be
    opened is opened when it is first needed."""

    @lru_cache(maxsize=1)
    def keyring() -> Keyring:
        from fallback.storage.keys import Keyring

        return Keyring(keys)

    @lru_cache(maxsize=1)
    def ledger() -> Ledger:
        from fallback.storage.database import Database
        from fallback.storage.keys import CHECKPOINT_TYPE
        from fallback.storage.ledger import Ledger

        database = Database(place, keeps_open=True)
        return Ledger(database, lambda payload: keyring().sign(payload, CHECKPOINT_TYPE))

    journal = _journal(place)
    pending = Pending(
        (lambda least_bytes: None) if journal is None else journal.segment,
        limit_bytes=waiting_bytes,
        software=software,
    )
    maker = ReceiptMaker(software=software, max_body_bytes=max_body_bytes)
    writer = LedgerWriter(pending, ledger, journal, retention, redact=redact)
    return Bookkeeper(pending, maker, writer, ledger, keyring, software=software)


def _journal(place: Path | str) -> Journal | None:
    try:
        return Journal(place_for(str(place)))
    except OSError as error:
        _log.warning("receipts that wait for the database would not outlive a kill: %s", error)
        return None


class Bookkeeper:
    """`ledger` opens the chain and `keys` the keys; both may be slow the first time. `software`
    names this program."""

    def __init__(
        self,
        pending: Pending,
        maker: ReceiptMaker,
        writer: LedgerWriter,
        ledger: Callable[[], Ledger],
        keys: Callable[[], Keyring],
        *,
        software: str,
    ) -> None:
        self._pending = pending
        self._maker = maker
        self._writer = writer
        self._ledger = ledger
        self._keys = keys
        self._software = software

    def __repr__(self) -> str:
        return f"<Bookkeeper {self._writer!r}>"

    def begun(self, id: str, started: float, method: str, path: str) -> None:
        """A request has come in: from now on it will have a receipt."""
        self._pending.begun(id, begun(id, started, method, path, self._software))

    def finished(self, record: FinishedRequest, seen: Seen, *, keep_bodies: bool) -> None:
        """A request has ended."""
        try:
            self._pending.add(self._maker.line(record, seen, keep_bodies=keep_bodies))
        except Exception:  # noqa: BLE001 - one that nobody thought of costs its own receipt alone
            _log.exception("a bug in fallback: no receipt of %s", record.provenance.receipt)

    def start(self) -> None:
        """Begin to write."""
        self._writer.start()

    async def show(self, receipt_id: str) -> Shown | None:
        """A receipt, signed now if it is in the chain; None where it is not to be had."""
        try:
            found = await asyncio.to_thread(self._shown, receipt_id)
        except StorageError as error:
            _log.warning("receipts cannot be read: %s", error)
            found = None
        if found is None and (waiting := self._pending.find(receipt_id)) is not None:
            found = Shown(receipt=msgspec.json.decode(waiting))
        return found

    async def public_keys(self) -> Mapping[str, Any]:
        """A JWK Set."""
        try:
            return await asyncio.to_thread(lambda: self._keys().public())
        except StorageError as error:
            _log.warning("%s", error)
            return {"keys": []}

    def status(self) -> dict[str, Any]:
        """How writing stands, as JSON types."""
        status: dict[str, Any] = msgspec.to_builtins(self._writer.status())
        return status

    async def aclose(self) -> None:
        """Write what waits."""
        await asyncio.to_thread(self._writer.close, _CLOSE_S)

    def _shown(self, receipt_id: str) -> Shown | None:
        from fallback.storage.keys import RECEIPT_TYPE

        found = self._ledger().find(receipt_id)
        if found is None:
            return None
        entry = msgspec.json.decode(found.entry)
        return Shown(
            receipt=entry["receipt"],
            seq=found.seq,
            previous=entry["previous"],
            jws=self._keys().sign(found.entry, RECEIPT_TYPE),
        )
