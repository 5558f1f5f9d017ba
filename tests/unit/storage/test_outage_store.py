"""Outages in a SQLite file."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from outage_events import START, down
from sqlalchemy import Connection, text

from fallback.core.outages import Outage
from fallback.storage.database import Database
from fallback.storage.errors import StorageError
from fallback.storage.migrations import MIGRATIONS, migrate
from fallback.storage.outages import OutageStore


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "of our own" / "fallback%20?.db"


@pytest.fixture
def store(database_place: Path | str) -> OutageStore:
    return OutageStore(database_place)


@pytest.fixture
def file_store(path: Path) -> OutageStore:
    return OutageStore(path)


def over(outage: Outage, at: float) -> Outage:
    return msgspec.structs.replace(outage, ended=at, watched_until=at)


def test_what_is_saved_is_found_again(store: OutageStore) -> None:
    """The whole record, by its id."""
    outage = down()
    store.save([outage])
    assert store.get("out-1") == outage
    assert store.get("out-2") is None


def test_a_later_state_replaces_the_earlier(store: OutageStore) -> None:
    """One outage is one row."""
    store.save([down()])
    later = over(down(), START + 60)
    store.save([later])
    assert store.all_since(0) == [later]


def test_those_since_a_time_are_listed_newest_first(store: OutageStore) -> None:
    """One that began before and went on counts; one that ended or was last seen before does
    not."""
    store.save(
        [
            over(down(START, number=1), START + 100),
            over(down(START + 50, number=2), START + 300),
            down(START + 60, number=3),
            down(START + 400, number=4),
        ]
    )
    assert [outage.id for outage in store.all_since(START + 200)] == ["out-4", "out-2"]


def test_the_oldest_make_room(path: Path) -> None:
    """The file does not grow without end."""
    store = OutageStore(path, kept=3)
    for number in range(10):
        store.save([down(START + number, number=number)])
    assert [outage.id for outage in store.all_since(0)] == ["out-9", "out-8", "out-7"]


def test_without_a_file_there_is_nothing_and_none_is_made(
    file_store: OutageStore, path: Path
) -> None:
    """Reading leaves no trace."""
    assert file_store.all_since(0) == []
    assert file_store.get("out-1") is None
    assert not path.parent.exists()


def test_the_file_is_private_and_in_wal_mode(file_store: OutageStore, path: Path) -> None:
    """Readers do not block the writer, and other users read nothing."""
    file_store.save([down()])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_database_that_was_taken_away_is_made_anew(file_store: OutageStore, path: Path) -> None:
    """The next write finds the disk as it is, not as it was."""
    file_store.save([down(number=1)])
    for file in path.parent.iterdir():
        file.unlink()
    file_store.save([down(number=2)])
    assert [outage.id for outage in file_store.all_since(0)] == ["out-2"]


def test_all_are_written_or_none(store: OutageStore) -> None:
    """A batch that fails in the middle leaves nothing half done."""
    broken = msgspec.structs.replace(down(number=2), id=None)
    with pytest.raises(StorageError):
        store.save([down(number=1), broken])
    assert store.all_since(0) == []


def test_a_place_that_cannot_be_one_is_named(tmp_path: Path) -> None:
    """The error says which file and why."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/fallback\.db: .*File exists"):
        OutageStore(tmp_path / "file" / "fallback.db").save([down()])


def test_a_file_that_is_no_database_is_left_alone(file_store: OutageStore, path: Path) -> None:
    """Neither read as empty nor overwritten."""
    path.parent.mkdir()
    path.write_text("the operator's notes " * 100)
    with pytest.raises(StorageError, match="not a database"):
        file_store.save([down()])
    with pytest.raises(StorageError, match="not a database"):
        file_store.all_since(0)
    assert path.read_text().startswith("the operator's notes")


def test_a_locked_file_is_an_error_after_a_while(file_store: OutageStore, path: Path) -> None:
    """Writing fails and can be tried again; reading goes on."""
    file_store.save([down()])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked"), Database(path, busy_s=0.01).writing():
        pass
    assert len(file_store.all_since(0)) == 1
    other.close()


_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from fallback.storage.errors import StorageError
from fallback.storage.outages import OutageStore
from outage_events import down
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
store = OutageStore(Path(sys.argv[1]))
store.save([down(number=1)])
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
try:
    store.save([down(number=n) for n in range(2, 200)])
except StorageError as error:
    print("told:", error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
store.save([down(number=2)])
print([outage.id for outage in store.all_since(0)])
"""


def test_a_full_disk_is_an_error_and_harms_nothing(path: Path) -> None:
    """What was there stays; once there is room, writing goes on."""
    run = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(path)],
        env={"PYTHONPATH": str(Path(sys.modules["outage_events"].__file__ or "").parent)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    told, left = run.stdout.splitlines()
    assert told.startswith(f"told: {path}: ")
    assert left == "['out-1', 'out-2']"


def test_a_record_of_another_version_hides_no_other(
    file_store: OutageStore, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be understood is told in the log and passed over."""
    file_store.save([down(number=1), down(number=2)])
    with Database(path).writing() as connection:
        connection.execute(text("UPDATE outages SET record = '{}' WHERE id = 'out-1'"))
    assert [outage.id for outage in file_store.all_since(0)] == ["out-2"]
    assert "not readable by this version" in caplog.text


def applied(connection: Connection) -> list[tuple[int, str]]:
    rows = connection.execute(text("SELECT number, name FROM migrations ORDER BY number"))
    return [(row.number, row.name) for row in rows]


def test_every_migration_runs_once(path: Path) -> None:
    """In order, each on record."""
    expected = [(number, step.__name__) for number, step in enumerate(MIGRATIONS, start=1)]
    for _ in range(2):
        with Database(path).writing() as connection:
            migrate(connection)
            assert applied(connection) == expected


def test_a_newer_schema_is_refused(file_store: OutageStore, path: Path) -> None:
    """An old version does not write into what it does not know."""
    with Database(path).writing() as connection:
        connection.execute(text("INSERT INTO migrations VALUES (99, 'of tomorrow', 0)"))
    with pytest.raises(StorageError, match="a newer fallback wrote it"):
        file_store.save([down()])


def test_a_missing_driver_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install; a password is not."""
    store = OutageStore("mysql+nosuchdriver://user:secret@host/db")
    with pytest.raises(StorageError) as caught:
        store.save([down()])
    assert "secret" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StorageError, match="psycopg"):
        OutageStore("postgresql://user:secret@host/db").all_since(0)
