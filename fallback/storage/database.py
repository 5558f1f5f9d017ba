"""Opens the database: a SQLite file by its path, any other by its URL.

SQLite is used in WAL mode, so that reading and writing do not wait for each other
(sqlite.org/wal.html); with `synchronous=NORMAL` a killed process loses nothing, a power cut at
most the last transactions. Each use opens the file anew: a file that was replaced or whose disk
came back is found again, where a connection kept open would write into the void. Who writes every
second keeps it open all the same (opening and closing takes 5 ms), and looks each time whether it
is still the file that lies there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.exc import SQLAlchemyError

from fallback.storage.errors import StorageError
from fallback.storage.migrations import is_current, is_set_up, migrate
from fallback.storage.place import shown, with_driver

_BUSY_S = 5.0


class Database:
    """`place` is the path of a SQLite file or a SQLAlchemy URL. Opening is left to first use;
    a lock of another process on the file is waited for, `busy_s` at most. One that `keeps_open`
    what it writes to has to be closed."""

    def __init__(
        self, place: Path | str, *, busy_s: float = _BUSY_S, keeps_open: bool = False
    ) -> None:
        self._keeps_open = keeps_open
        self._opened: tuple[int, int] | None = None
        self._place = place
        self._busy_s = busy_s
        self._engines: dict[bool, Engine] = {}
        self._was_current = False

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction on an up-to-date schema; the file is made where there is none.

        Raises `StorageError`."""
        with _translated(self._place):
            if isinstance(self._place, Path):
                _make(self._place)
            same = self._is_same()
            with self._engine(read_only=False).begin() as connection:
                if not same:
                    migrate(connection)
                yield connection
            self._opened = self._identity()

    def close(self) -> None:
        """Let go of what is kept open."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()

    def _is_same(self) -> bool:
        """Whether what is kept open is still what lies there; else it is opened anew."""
        if not self._keeps_open or self._opened is None:
            return False
        if self._opened != self._identity():
            self.close()
            self._opened = None
        return self._opened is not None

    def _identity(self) -> tuple[int, int]:
        """What tells a file from one that took its place."""
        if not isinstance(self._place, Path):
            return (0, 0)
        status = self._place.stat()
        return status.st_dev, status.st_ino

    @contextmanager
    def reading(self) -> Iterator[Connection | None]:
        """A transaction that changes nothing, or None where nothing was ever written.

        Raises `StorageError`."""
        if isinstance(self._place, Path) and not self._place.exists():
            yield None
            return
        with _translated(self._place):
            if self._is_behind():
                with self.writing():
                    pass
            with self._engine(read_only=True).begin() as connection:
                yield connection if is_set_up(connection) else None

    def _is_behind(self) -> bool:
        """Whether an older version wrote it, which did not know all tables."""
        if self._was_current:
            return False
        with self._engine(read_only=True).begin() as connection:
            self._was_current = is_current(connection)
            return is_set_up(connection) and not self._was_current

    def __repr__(self) -> str:
        return f"<Database {shown(self._place)}>"

    def _engine(self, *, read_only: bool) -> Engine:
        if read_only not in self._engines:
            self._engines[read_only] = self._made(read_only=read_only)
        return self._engines[read_only]

    def _made(self, *, read_only: bool) -> Engine:
        keeps = self._keeps_open and not read_only
        pool = QueuePool if keeps else NullPool
        size = {"pool_size": 1, "max_overflow": 0} if keeps else {}
        if isinstance(self._place, Path):
            place, busy_s = self._place, self._busy_s
            return _sqlite(place, read_only=read_only, busy_s=busy_s, poolclass=pool, **size)
        # What is read in one transaction is to be of one moment, as it is in SQLite.
        isolation = {"isolation_level": "REPEATABLE READ"} if read_only else {}
        return create_engine(
            with_driver(self._place), poolclass=pool, pool_pre_ping=keeps, **size, **isolation
        )


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # SQLite gives its side files the same rights: nobody else's business.
        path.touch(mode=0o600)


def _sqlite(path: Path, *, read_only: bool, busy_s: float, **pool: Any) -> Engine:
    query = {"uri": "true", "mode": "ro" if read_only else "rw"}
    url = URL.create("sqlite", database=f"file:{quote(str(path))}", query=query)
    engine = create_engine(url, connect_args={"timeout": busy_s}, **pool)

    @event.listens_for(engine, "connect")
    def _set_up(connection: Any, _record: Any) -> None:
        # The driver would begin transactions too late to hold DDL; see `_begin`.
        connection.isolation_level = None
        if not read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A reader that wants to write later fails at once instead of waiting its turn.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def _translated(place: Path | str) -> Iterator[None]:
    """Errors of the driver and of the file system, in one line and without the URL's password."""
    try:
        yield
    except ImportError as error:
        raise StorageError(
            f"{shown(place)}: no driver for such a database is installed ({error}). "
            f"For PostgreSQL: pip install 'psycopg[binary]' into fallback's environment."
        ) from error
    except (SQLAlchemyError, OSError) as error:
        told = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StorageError(f"{shown(place)}: {told}") from error
