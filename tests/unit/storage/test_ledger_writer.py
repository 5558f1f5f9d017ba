"""The thread that writes receipts: batches, pauses, what was left behind, what is lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ledger_lines import START_US, line, lines, receipt

from fallback.core.receipt import canonical
from fallback.storage.database import Database
from fallback.storage.errors import StorageError
from fallback.storage.journal import Journal
from fallback.storage.keys import CHECKPOINT_TYPE, Keyring
from fallback.storage.ledger import Ledger
from fallback.storage.ledger_writer import LedgerWriter, Retention
from fallback.storage.lines import Bodies
from fallback.storage.pending import Pending
from fallback.storage.verification import Chain, check_chain

FOREVER = Retention(days=1e6, receipts=1_000_000)
PATIENCE_S = 60


class Disk:
    """A database that can be made to fail, and tells when it was written to."""

    def __init__(self, folder: Path) -> None:
        self.keys = Keyring(folder / "keys")
        self.place = folder / "fallback.db"
        self.failing = False
        self.asked = threading.Semaphore(0)

    def ledger(self) -> Ledger:
        self.asked.release()
        if self.failing:
            raise StorageError("database or disk is full")
        return Ledger(Database(self.place), lambda p: self.keys.sign(p, CHECKPOINT_TYPE))

    def chain(self) -> Chain:
        kept = Ledger(Database(self.place), lambda p: "")
        return check_chain(kept.entries(), kept.checkpoints(), self.keys.public())


class Desk:
    """A writer and what it writes."""

    def __init__(
        self,
        folder: Path,
        *,
        journal: bool = True,
        limit: int = 1_000_000,
        retention: Retention = FOREVER,
        redact: Callable[[str, bytes], bytes] | None = None,
    ) -> None:
        self.disk = Disk(folder)
        self.journal = Journal(folder / "ours" / "journals") if journal else None
        self.pending = Pending(
            self.journal.segment if self.journal else lambda least_bytes: None,
            limit_bytes=limit,
            part_bytes=4000,
            software="test",
        )
        self.writer = LedgerWriter(
            self.pending,
            self.disk.ledger,
            self.journal,
            retention,
            redact=redact,
            interval_s=PATIENCE_S,
            delay_s=lambda failures: 0.001,
            clock=lambda: START_US / 1e6,
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.disk.failing = False
    desk.writer.close(PATIENCE_S)


def test_nothing_is_opened_before_there_is_something(desk: Desk) -> None:
    """A service that nobody asks leaves no file."""
    desk.writer.start()
    desk.writer.close(PATIENCE_S)
    assert not desk.disk.place.exists()
    assert not desk.disk.asked.acquire(blocking=False)


def test_all_that_waits_is_written_at_the_end(desk: Desk) -> None:
    """Closing writes it, and leaves no journal."""
    desk.writer.start()
    for each in lines(1, 50):
        desk.pending.add(each)
    desk.writer.close(PATIENCE_S)
    chain = desk.disk.chain()
    assert (chain.entries, chain.last, chain.problems) == (50, 50, ())
    status = desk.writer.status()
    assert (status.state, status.written, status.waiting, status.lost) == ("ok", 50, 0, 0)
    assert desk.journal is not None
    assert list(desk.journal._folder.iterdir()) == []


def test_a_failing_disk_is_tried_again(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is lost while there is room to wait, and it is told, once."""
    desk.disk.failing = True
    for each in lines(1, 20):
        desk.pending.add(each)
    desk.writer.start()
    for _ in range(5):
        assert desk.disk.asked.acquire(timeout=PATIENCE_S)
    assert desk.writer.status().error == "database or disk is full"
    assert desk.writer.status().state == "failing"
    desk.disk.failing = False
    desk.writer.close(PATIENCE_S)
    assert desk.disk.chain().entries == 20
    assert [r.message for r in caplog.records] == [
        "receipts cannot be written, 20 wait: database or disk is full",
        "receipts are written again",
    ]


def test_a_failure_behind_the_commit_is_no_failure_for_ever(desk: Desk) -> None:
    """What was written before the error came is not written twice."""

    class Forgetful(Ledger):
        failed = False

        def append(self, *arguments: Any, **options: Any) -> int:
            count = super().append(*arguments, **options)
            if not Forgetful.failed:
                Forgetful.failed = True
                raise StorageError("the file went away just now")
            return count

    forgetful = Forgetful(Database(desk.disk.place), lambda p: desk.disk.keys.sign(p, "t"))
    desk.disk.ledger = lambda: forgetful  # type: ignore[method-assign]
    desk.writer._ledger = desk.disk.ledger
    for each in lines(1, 5):
        desk.pending.add(each)
    desk.writer.start()
    desk.writer.close(PATIENCE_S)
    assert Forgetful.failed
    assert [entry.seq for entry in forgetful.entries()] == [1, 2, 3, 4, 5]
    assert desk.writer.status().waiting == 0


def test_what_is_lost_is_counted_in_the_chain(tmp_path: Path) -> None:
    """Each receipt is in the chain, or counted there as lost."""
    desk = Desk(tmp_path, journal=False, limit=20_000)
    desk.disk.failing = True
    for each in lines(1, 200):
        desk.pending.add(each)
    desk.writer.start()
    assert desk.disk.asked.acquire(timeout=PATIENCE_S)
    desk.disk.failing = False
    desk.writer.close(PATIENCE_S)
    chain = desk.disk.chain()
    assert chain.problems == ()
    assert chain.lost == desk.writer.status().lost > 100
    assert chain.entries - 1 + chain.lost == 200


def test_what_cannot_be_written_stays_for_the_next_service(tmp_path: Path) -> None:
    """A disk that is full to the end: the journal keeps receipts and open requests."""
    first = Desk(tmp_path)
    first.disk.failing = True
    first.writer.start()
    first.pending.begun(receipt(3).id, canonical(receipt(3)))
    for each in lines(1, 2):
        first.pending.add(each)
    first.writer.close(PATIENCE_S)
    second = Desk(tmp_path)
    second.writer.start()
    second.writer.close(PATIENCE_S)
    assert second.disk.chain().entries == 3
    third = Desk(tmp_path)
    third.writer.start()
    third.writer.close(PATIENCE_S)
    assert third.disk.chain().entries == 3


def test_the_oldest_are_pruned(tmp_path: Path) -> None:
    """By number here; by age the same way."""
    desk = Desk(tmp_path, retention=Retention(days=1e6, receipts=1))
    for each in lines(1, 3):
        desk.pending.add(each)
    desk.writer.start()
    desk.writer.close(PATIENCE_S)
    assert desk.disk.chain().entries in (0, 3)  # it ends at a checkpoint
    assert desk.disk.chain().problems == ()


def test_bodies_are_redacted(tmp_path: Path) -> None:
    """What the operator's function takes out never reaches the disk; where it fails, nothing
    does."""

    def redact(what: str, content: bytes) -> bytes:
        if content == b"poison":
            raise ValueError("no idea")
        return what.encode() + b" without " + content[:1]

    desk = Desk(tmp_path, redact=redact)
    desk.pending.add(line(1, bodies=Bodies(b"key: secret", b"yes")))
    desk.pending.add(line(2, bodies=Bodies(b"poison", b"yes")))
    desk.writer.start()
    desk.writer.close(PATIENCE_S)
    ledger = desk.disk.ledger()
    assert ledger.bodies(receipt(1).id) == Bodies(b"request without k", b"answer without y")
    assert ledger.bodies(receipt(2).id) is None
    assert ledger.find(receipt(2).id) is not None
    with sqlite3.connect(desk.disk.place) as connection:
        assert connection.execute("SELECT count(*) FROM bodies").fetchone() == (1,)
    connection.close()
