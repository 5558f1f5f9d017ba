"""Outages in the database: one row each, the whole record as JSON beside what is searched for."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import (
    Connection,
    column,
    delete,
    desc,
    insert,
    or_,
    select,
    table,
    update,
)

from fallback.core.outages import Outage
from fallback.storage.database import Database

_log = logging.getLogger("fallback.storage")

_KEPT = 10_000
_COLUMNS = ("id", "scope", "started", "ended", "worst", "record")
_OUTAGES = table("outages", *(column(name) for name in _COLUMNS))


class OutageStore:
    """`place` as for `Database`; the newest `kept` outages are kept. Every method raises
    `StorageError`, and blocks while the disk does."""

    def __init__(self, place: Path | str, *, kept: int = _KEPT) -> None:
        self._database = Database(place)
        self._kept = kept

    def save(self, outages: Sequence[Outage]) -> None:
        """Write all of them or none; what is there under the same id is replaced."""
        with self._database.writing() as connection:
            for outage in outages:
                _put(connection, outage)
            self._prune(connection)

    def all_since(self, since: float, *, limit: int = 1000) -> list[Outage]:
        """Those that were on at or after `since` (Unix seconds), newest first. One without a
        known end counts by its start and by what it was last seen doing."""
        c = _OUTAGES.c
        query = (
            select(c.record)
            .where(or_(c.started >= since, c.ended.is_(None), c.ended >= since))
            .order_by(desc(c.started), c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).scalars().all() if connection else ()
        return [outage for outage in _decoded(rows) if outage.last_known >= since]

    def get(self, outage_id: str) -> Outage | None:
        """The one of this id, if it is kept."""
        query = select(_OUTAGES.c.record).where(_OUTAGES.c.id == outage_id)
        with self._database.reading() as connection:
            rows = connection.execute(query).scalars().all() if connection else ()
        return next(_decoded(rows), None)

    def _prune(self, connection: Connection) -> None:
        started = _OUTAGES.c.started
        oldest = select(started).order_by(desc(started)).limit(1).offset(self._kept - 1)
        connection.execute(delete(_OUTAGES).where(started < oldest.scalar_subquery()))


def _put(connection: Connection, outage: Outage) -> None:
    """Update, else insert: the one way that both databases spell alike."""
    row = _row(outage)
    changed = connection.execute(update(_OUTAGES).where(_OUTAGES.c.id == outage.id).values(row))
    if changed.rowcount == 0:
        connection.execute(insert(_OUTAGES).values(row))


def _row(outage: Outage) -> dict[str, Any]:
    return {
        "id": outage.id,
        "scope": str(outage.scope),
        "started": outage.started,
        "ended": outage.ended,
        "worst": outage.worst.value,
        "record": msgspec.json.encode(outage).decode(),
    }


def _decoded(records: Iterable[str]) -> Iterator[Outage]:
    for record in records:
        try:
            yield msgspec.json.decode(record, type=Outage)
        except msgspec.ValidationError as error:
            _log.warning("an outage on record is not readable by this version: %s", error)
