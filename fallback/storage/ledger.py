"""The chain of receipts in the database. See `core.receipt` for what an entry is.

Rules of this file:
- Numbers and hashes are given out inside the transaction that writes the entries, under the
  database's own lock: several services may write to one chain.
- Each batch ends with a checkpoint, and what is pruned ends at one, so that what remains is still
  tied to a signature.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    BigInteger,
    Connection,
    Integer,
    LargeBinary,
    Text,
    column,
    delete,
    desc,
    func,
    insert,
    select,
    table,
    text,
)

from fallback.core.receipt import (
    GENESIS,
    Checkpoint,
    Gap,
    Receipt,
    canonical,
    digest,
    entry,
    us,
)
from fallback.core.service_levels import Request
from fallback.storage.database import Database
from fallback.storage.lines import Bodies, Line

_RECEIPTS = table(
    "receipts",
    column("seq", BigInteger),
    column("id", Text),
    column("started", BigInteger),
    column("operation", Text),
    column("tier", Text),
    column("upstream", Text),
    column("model", Text),
    column("reason", Text),
    column("outage", Text),
    column("status", Integer),
    column("ended", Text),
    column("duration", BigInteger),
    column("first_content", BigInteger),
    column("entry", Text),
)
_CHECKPOINTS = table(
    "checkpoints", column("seq", BigInteger), column("lost", BigInteger), column("jws", Text)
)
_BODIES = table(
    "bodies", column("id", Text), column("request", LargeBinary), column("answer", LargeBinary)
)

_CHUNK = 500


class Entry(NamedTuple):
    """One link as it is stored."""

    seq: int
    entry: bytes


class Signed(NamedTuple):
    """One checkpoint as it is stored: a JWS in compact form."""

    seq: int
    jws: str


class _GapEntry(msgspec.Struct):
    gap: Gap


class Ledger:
    """The chain in a database. `sign` makes a JWS of a checkpoint's canonical JSON."""

    def __init__(
        self,
        database: Database,
        sign: Callable[[bytes], str],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._sign = sign
        self._clock = clock

    def __repr__(self) -> str:
        return f"<Ledger {self._database!r}>"

    def append(self, lines: Sequence[Line], gap: Gap | None = None, *, anew: bool = False) -> int:
        """Add to the chain: how many lines were. `anew`: some may be there already. All or nothing;
        raises `StorageError`."""
        with self._database.writing() as connection:
            if connection.dialect.name != "sqlite":  # which has locked all of itself by now
                connection.execute(text("LOCK TABLE receipts IN EXCLUSIVE MODE"))
            if anew:
                there = _known(connection, [line.receipt.id for line in lines])
                lines = [line for line in lines if line.receipt.id not in there]
            self._append(connection, lines, gap)
        return len(lines)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def find(self, receipt_id: str) -> Entry | None:
        """The entry of a receipt. Raises `StorageError`."""
        c = _RECEIPTS.c
        query = select(c.seq, c.entry).where(c.id == receipt_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first() if connection else None
        return None if row is None else Entry(row.seq, row.entry.encode())

    def bodies(self, receipt_id: str) -> Bodies | None:
        """What is kept of a request and its answer. Raises `StorageError`."""
        query = select(_BODIES.c.request, _BODIES.c.answer).where(_BODIES.c.id == receipt_id)
        with self._database.reading() as connection:
            row = connection.execute(query).first() if connection else None
        return None if row is None else Bodies(bytes(row.request), bytes(row.answer))

    def entries(self, after: int = 0) -> Iterator[Entry]:
        """All that come after the number `after`, in order. Raises `StorageError`."""
        c = _RECEIPTS.c
        while True:
            query = select(c.seq, c.entry).where(c.seq > after).order_by(c.seq).limit(_CHUNK)
            with self._database.reading() as connection:
                rows = connection.execute(query).all() if connection else ()
            if not rows:
                return
            yield from (Entry(row.seq, row.entry.encode()) for row in rows)
            after = rows[-1].seq

    def requests(self, since_us: int, until_us: int) -> Iterator[Request]:
        """Those that began at or after the one and before the other, in any order. Raises
        `StorageError`."""
        c = _RECEIPTS.c
        query = select(
            c.operation,
            c.tier,
            c.upstream,
            c.model,
            c.reason,
            c.status,
            c.ended,
            c.duration,
            c.first_content,
        ).where(c.started >= since_us, c.started < until_us, c.id.is_not(None))
        with self._database.reading() as connection:
            if connection is not None:
                for row in connection.execution_options(yield_per=_CHUNK).execute(query):
                    yield Request(
                        operation=row.operation,
                        tier=row.tier,
                        upstream=row.upstream,
                        model=row.model,
                        reason=row.reason,
                        status=row.status,
                        ended=row.ended,
                        duration_s=_seconds(row.duration),
                        first_content_s=_seconds(row.first_content),
                    )

    def lost(self, since_us: int, until_us: int) -> int:
        """How many receipts of that time could not be kept. Raises `StorageError`."""
        c = _RECEIPTS.c
        query = select(c.entry).where(c.started >= since_us, c.started < until_us, c.id.is_(None))
        with self._database.reading() as connection:
            entries = connection.execute(query).scalars().all() if connection else ()
        return sum(msgspec.json.decode(entry, type=_GapEntry).gap.lost for entry in entries)

    def checkpoints(self) -> list[Signed]:
        """All of them, in order. Raises `StorageError`."""
        with self._database.reading() as connection:
            return _checkpoints(connection)

    @contextmanager
    def snapshot(self) -> Iterator[tuple[Iterator[Entry], list[Signed]]]:
        """All entries and all checkpoints as they are at one moment, whoever writes meanwhile.
        Raises `StorageError`."""
        with self._database.reading() as connection:
            yield _entries(connection), _checkpoints(connection)

    def prune(self, *, before_us: int, most_entries: int) -> int:
        """Delete the oldest, up to a checkpoint: those from before `before_us`, and what is more
        than `most_entries`. Returns how many. Raises `StorageError`."""
        c = _RECEIPTS.c
        with self._database.writing() as connection:
            head = connection.execute(select(func.max(c.seq))).scalar() or 0
            old = connection.execute(select(func.max(c.seq)).where(c.started < before_us)).scalar()
            limit = max(old or 0, head - most_entries)
            points = _CHECKPOINTS.c.seq
            until = connection.execute(select(func.max(points)).where(points <= limit)).scalar()
            if until is None:
                return 0
            gone = select(c.id).where(c.seq <= until)
            connection.execute(delete(_BODIES).where(_BODIES.c.id.in_(gone)))
            connection.execute(delete(_CHECKPOINTS).where(points < until))
            return connection.execute(delete(_RECEIPTS).where(c.seq <= until)).rowcount

    def _append(self, connection: Connection, lines: Sequence[Line], gap: Gap | None) -> None:
        if not lines and gap is None:
            return
        seq, previous, lost = _head(connection)
        rows: list[tuple[Any, ...]] = []
        if gap is not None:
            seq, lost = seq + 1, lost + gap.lost
            made = entry(seq, previous, "gap", canonical(gap))
            previous = digest(made)
            rows.append(_gap_row(seq, gap, made))
        for line in lines:
            seq += 1
            made = entry(seq, previous, "receipt", line.content)
            previous = digest(made)
            rows.append(_row(seq, line.receipt, made))
        connection.exec_driver_sql(_insert(connection), rows)
        if kept := [line for line in lines if line.bodies is not None]:
            connection.execute(insert(_BODIES), [_body_row(line) for line in kept])
        point = Checkpoint(at_us=us(self._clock()), hash=previous, lost=lost, seq=seq)
        signed = {"seq": seq, "lost": lost, "jws": self._sign(canonical(point))}
        connection.execute(insert(_CHECKPOINTS).values(signed))


def _entries(connection: Connection | None) -> Iterator[Entry]:
    if connection is not None:
        query = select(_RECEIPTS.c.seq, _RECEIPTS.c.entry).order_by(_RECEIPTS.c.seq)
        for row in connection.execution_options(yield_per=_CHUNK).execute(query):
            yield Entry(row.seq, row.entry.encode())


def _checkpoints(connection: Connection | None) -> list[Signed]:
    if connection is None:
        return []
    query = select(_CHECKPOINTS.c.seq, _CHECKPOINTS.c.jws).order_by(_CHECKPOINTS.c.seq)
    return [Signed(row.seq, row.jws) for row in connection.execute(query)]


def _head(connection: Connection) -> tuple[int, str, int]:
    """The number and the hash of the last entry, and how many receipts are missing so far."""
    c = _RECEIPTS.c
    last = connection.execute(select(c.seq, c.entry).order_by(desc(c.seq)).limit(1)).first()
    points = _CHECKPOINTS.c
    point = connection.execute(
        select(points.seq, points.lost, points.jws).order_by(desc(points.seq)).limit(1)
    ).first()
    lost = 0 if point is None else point.lost
    if last is not None:
        return last.seq, digest(last.entry.encode()), lost
    # All was pruned: the checkpoint alone knows how it ended.
    return (0, GENESIS, lost) if point is None else (point.seq, _hash_in(point.jws), lost)


def _hash_in(jws: str) -> str:
    """The hash that a checkpoint of ours states."""
    from joserfc.util import urlsafe_b64decode

    payload = urlsafe_b64decode(jws.split(".")[1].encode())
    return msgspec.json.decode(payload, type=Checkpoint).hash


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / 1e6


def _known(connection: Connection, ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for at in range(0, len(ids), _CHUNK):
        query = select(_RECEIPTS.c.id).where(_RECEIPTS.c.id.in_(ids[at : at + _CHUNK]))
        found.update(connection.execute(query).scalars())
    return found


def _insert(connection: Connection) -> str:
    """The statement in the driver's own words: SQLAlchemy would look at each value of each row,
    which takes as long as writing it."""
    columns = [each.name for each in _RECEIPTS.c]
    mark = "?" if connection.dialect.paramstyle == "qmark" else "%s"
    marks = ", ".join([mark] * len(columns))
    return f"INSERT INTO receipts ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608


def _row(seq: int, receipt: Receipt, made: bytes) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    return (
        seq,
        receipt.id,
        receipt.started_us,
        receipt.operation,
        receipt.tier,
        receipt.upstream,
        receipt.requested_model,
        receipt.reason,
        receipt.outage,
        receipt.status,
        receipt.ended,
        receipt.duration_us,
        receipt.first_content_us,
        made.decode(),
    )


def _gap_row(seq: int, gap: Gap, made: bytes) -> tuple[Any, ...]:
    return (seq, None, gap.from_us, *[None] * 10, made.decode())


def _body_row(line: Line) -> dict[str, Any]:
    assert line.bodies is not None
    return {"id": line.receipt.id, **line.bodies._asdict()}
