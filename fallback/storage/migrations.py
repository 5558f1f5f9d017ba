"""The schema's history: ordered functions that only append.

Rules of this file:
- A migration that was released is never changed; what is wrong is mended by the next one.
- A migration spells out its own SQL, which SQLite and PostgreSQL both know: tables as the rest
  of the package describes them today would rewrite history tomorrow.
- All that are due run in the transaction of the caller, so that a schema is never half new.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import Connection, column, func, insert, inspect, select, table

from fallback.storage.errors import StorageError

_APPLIED = table("migrations", column("number"), column("name"), column("applied"))


def migrate(connection: Connection) -> None:
    """Bring the schema up to date; cheap where it is. Raises `StorageError` where it is newer
    than this version knows."""
    if not is_set_up(connection):
        connection.exec_driver_sql(
            "CREATE TABLE migrations ("
            "number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied DOUBLE PRECISION NOT NULL)"
        )
    applied = _applied(connection)
    for number, migration in enumerate(MIGRATIONS[applied:], start=applied + 1):
        migration(connection)
        row = {"number": number, "name": migration.__name__, "applied": time.time()}
        connection.execute(insert(_APPLIED).values(row))


def is_set_up(connection: Connection) -> bool:
    """Whether any migration ever ran: a first write that failed leaves an empty file."""
    return inspect(connection).has_table(_APPLIED.name)


def is_current(connection: Connection) -> bool:
    """Whether nothing is due. Raises `StorageError` where the schema is newer than this version
    knows."""
    if not is_set_up(connection):
        return False
    return _applied(connection) == len(MIGRATIONS)


def _applied(connection: Connection) -> int:
    applied: int = connection.execute(select(func.max(_APPLIED.c.number))).scalar() or 0
    if applied > len(MIGRATIONS):
        raise StorageError(
            f"the database has schema {applied}, and this version knows up to {len(MIGRATIONS)}: "
            f"a newer fallback wrote it. Bring this one up to date, or set another storage.path."
        )
    return applied


def create_outages(connection: Connection) -> None:
    """`started` and `ended` are Unix seconds; `ended` is empty while it is on, or where the end
    is not known. `record` is the whole outage as JSON."""
    connection.exec_driver_sql(
        "CREATE TABLE outages ("
        "id TEXT NOT NULL PRIMARY KEY, scope TEXT NOT NULL, started DOUBLE PRECISION NOT NULL, "
        "ended DOUBLE PRECISION, worst TEXT NOT NULL, record TEXT NOT NULL)"
    )
    connection.exec_driver_sql("CREATE INDEX outages_started ON outages (started)")


def create_receipts(connection: Connection) -> None:
    """The chain: `entry` is what is hashed and signed, the columns before it are what is searched
    for; `id` is empty where an entry tells of receipts that are missing. `started` is Unix time,
    all times are microseconds. A checkpoint is a signed statement about the entry `seq`."""
    # Only a plain INTEGER is SQLite's own key of a row.
    key = "INTEGER" if connection.dialect.name == "sqlite" else "BIGINT"
    octets = "BLOB" if connection.dialect.name == "sqlite" else "BYTEA"
    connection.exec_driver_sql(
        f"CREATE TABLE receipts (seq {key} NOT NULL PRIMARY KEY, id TEXT UNIQUE, "
        "started BIGINT NOT NULL, operation TEXT, tier TEXT, upstream TEXT, model TEXT, "
        "reason TEXT, outage TEXT, status INTEGER, ended TEXT, duration BIGINT, "
        "first_content BIGINT, entry TEXT NOT NULL)"
    )
    connection.exec_driver_sql("CREATE INDEX receipts_started ON receipts (started)")
    connection.exec_driver_sql(
        f"CREATE TABLE checkpoints (seq {key} NOT NULL PRIMARY KEY, lost BIGINT NOT NULL, "
        "jws TEXT NOT NULL)"
    )
    connection.exec_driver_sql(
        f"CREATE TABLE bodies (id TEXT NOT NULL PRIMARY KEY, request {octets}, answer {octets})"
    )


def create_answers(connection: Connection) -> None:
    """Answers that may stand in for later ones; `stored` is microseconds since 1970."""
    octets = "BLOB" if connection.dialect.name == "sqlite" else "BYTEA"
    connection.exec_driver_sql(
        "CREATE TABLE answers (key TEXT NOT NULL PRIMARY KEY, stored BIGINT NOT NULL, "
        f"origin TEXT NOT NULL, content_type TEXT NOT NULL, size BIGINT NOT NULL, body {octets})"
    )
    connection.exec_driver_sql("CREATE INDEX answers_stored ON answers (stored)")


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (
    create_outages,
    create_receipts,
    create_answers,
)
