"""The chain of receipts in a database, SQLite and PostgreSQL alike."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
from ledger_lines import START_US, line, lines, receipt
from sqlalchemy import text

from fallback.core.receipt import Gap
from fallback.storage.database import Database
from fallback.storage.keys import CHECKPOINT_TYPE, Keyring
from fallback.storage.ledger import Entry, Ledger, Signed
from fallback.storage.lines import Bodies
from fallback.storage.verification import Chain, check_chain

GAP = Gap(from_us=START_US, lost=7, software="test", until_us=START_US + 5, why="full")


@pytest.fixture
def keys(tmp_path: Path) -> Keyring:
    return Keyring(tmp_path / "keys")


@pytest.fixture
def database(database_place: Path | str) -> Database:
    return Database(database_place)


@pytest.fixture
def ledger(database: Database, keys: Keyring) -> Ledger:
    return Ledger(database, lambda payload: keys.sign(payload, CHECKPOINT_TYPE))


def checked(ledger: Ledger, keys: Keyring) -> Chain:
    return check_chain(ledger.entries(), ledger.checkpoints(), keys.public())


def change(database: Database, statement: str, **values: Any) -> None:
    """What somebody does to the database behind our back."""
    with database.writing() as connection:
        connection.execute(text(statement), values)


def test_what_is_kept_is_found(ledger: Ledger) -> None:
    """The entry of a receipt by its id, with its number."""
    ledger.append(lines(1, 3))
    found = ledger.find(receipt(2).id)
    assert isinstance(found, Entry)
    assert found.seq == 2
    assert receipt(2).id.encode() in found.entry
    assert ledger.find("rcp_nobody") is None


def test_an_empty_database_has_nothing(ledger: Ledger, keys: Keyring) -> None:
    """Reading where nothing was ever written is no error."""
    assert ledger.find("rcp_nobody") is None
    assert checked(ledger, keys) == Chain(
        first=0, last=0, entries=0, checkpoints=0, lost=0, problems=()
    )


def test_the_chain_holds(ledger: Ledger, keys: Keyring) -> None:
    """Batches follow each other, with what is missing told among them."""
    ledger.append(lines(1, 3))
    ledger.append(lines(4, 4), GAP)
    ledger.append([], GAP)
    ledger.append(lines(5, 9))
    assert checked(ledger, keys) == Chain(
        first=1, last=11, entries=11, checkpoints=4, lost=14, problems=()
    )


def test_what_is_there_is_not_added_twice(ledger: Ledger, keys: Keyring) -> None:
    """What a killed process had written already is left out of what it left behind."""
    ledger.append(lines(1, 4))
    assert ledger.append(lines(3, 6), anew=True) == 2
    assert ledger.append(lines(1, 6), anew=True) == 0
    assert checked(ledger, keys).entries == 6


def test_a_failed_batch_leaves_nothing(ledger: Ledger, keys: Keyring) -> None:
    """All or nothing."""
    ledger.append(lines(1, 2))
    with pytest.raises(Exception, match=re.compile("unique", re.IGNORECASE)):
        ledger.append(lines(2, 5))
    ledger.append(lines(3, 3))
    assert checked(ledger, keys).problems == ()
    assert [entry.seq for entry in ledger.entries()] == [1, 2, 3]


def test_several_services_share_a_chain(ledger: Ledger, keys: Keyring) -> None:
    """Numbers and hashes are given out one batch after the other, whoever writes."""
    barrier = threading.Barrier(4)

    def write(first: int) -> None:
        barrier.wait()
        for at in range(first, first + 10):
            ledger.append([line(at)])

    ledger.append([line(0)])  # which makes the tables
    threads = [threading.Thread(target=write, args=(100 * n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = checked(ledger, keys)
    assert (found.entries, found.problems) == (41, ())


def test_a_snapshot_is_of_one_moment(ledger: Ledger, keys: Keyring) -> None:
    """A service that writes while the chain is verified makes it no other."""
    ledger.append(lines(1, 5))
    with ledger.snapshot() as (entries, checkpoints):
        ledger.append(lines(6, 9))
        found = check_chain(entries, checkpoints, keys.public())
    assert (found.entries, found.problems) == (5, ())
    assert checked(ledger, keys).entries == 9


@pytest.mark.parametrize("seq", [1, 4, 5, 9, 10])
def test_a_changed_entry_is_found_and_named(
    ledger: Ledger, database: Database, keys: Keyring, seq: int
) -> None:
    """One character in any of them, at the beginning, within and at the end of a batch."""
    ledger.append(lines(1, 5))
    ledger.append(lines(6, 10))
    change(
        database,
        "UPDATE receipts SET entry = replace(entry, :status, :other) WHERE seq = :seq",
        status='"status":200',
        other='"status":201',
        seq=seq,
    )
    problems = checked(ledger, keys).problems
    assert problems
    assert problems[0].startswith(f"entry {seq} ({receipt(seq).id}) was changed")


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        ("seq = 1", "entry 1 is missing"),
        ("seq = 4", "entry 4 is missing"),
        ("seq in (4, 5, 6)", "the entries 4 to 6 are missing"),
        ("seq = 10", "entry 10 is missing"),
        ("seq > 7", "the entries 8 to 10 are missing"),
    ],
)
def test_a_removed_entry_is_found_and_named(
    ledger: Ledger, database: Database, keys: Keyring, gone: str, told: str
) -> None:
    """Wherever it was in the chain."""
    ledger.append(lines(1, 5))
    ledger.append(lines(6, 10))
    change(database, f"DELETE FROM receipts WHERE {gone}")
    assert told in checked(ledger, keys).problems


def test_an_entry_that_was_put_in_is_found(
    ledger: Ledger, database: Database, keys: Keyring
) -> None:
    """At the end, where no other follows it."""
    ledger.append(lines(1, 5))
    change(
        database,
        "INSERT INTO receipts (seq, id, started, entry) "
        "SELECT 6, 'rcp_x', started, entry FROM receipts WHERE seq = 5",
    )
    assert checked(ledger, keys).problems == (
        "entry 6 was changed: it cannot be read as one",
        "the entries up to 6 are not covered by a checkpoint: some were taken out",
    )


def test_a_forged_checkpoint_is_found(
    ledger: Ledger, database: Database, keys: Keyring, tmp_path: Path
) -> None:
    """One that somebody else signed, and one that belongs elsewhere."""
    ledger.append(lines(1, 2))
    ledger.append(lines(3, 4))
    first, second = ledger.checkpoints()
    assert isinstance(first, Signed)
    change(database, "UPDATE checkpoints SET jws = :jws WHERE seq = 4", jws=first.jws)
    assert checked(ledger, keys).problems == (
        "the checkpoint of entry 4 is no good: it is that of another entry",
    )
    other = Keyring(tmp_path / "other").sign(b"{}", CHECKPOINT_TYPE)
    change(database, "UPDATE checkpoints SET jws = :jws WHERE seq = 4", jws=other)
    assert "not among those given" in checked(ledger, keys).problems[0]
    change(database, "UPDATE checkpoints SET jws = :jws WHERE seq = 4", jws=second.jws)
    assert checked(ledger, keys).problems == ()


def test_keys_are_rotated(ledger: Ledger, keys: Keyring) -> None:
    """What an old key signed holds with the new one beside it, and not without its own."""
    ledger.append(lines(1, 2))
    old = keys.public()
    keys.rotate()
    ledger.append(lines(3, 4))
    assert checked(ledger, keys).problems == ()
    assert len(keys.public()["keys"]) == 2
    found = check_chain(ledger.entries(), ledger.checkpoints(), old)
    assert "not among those given" in found.problems[0]


def test_pruning_ends_at_a_checkpoint(ledger: Ledger, keys: Keyring) -> None:
    """The oldest go, by age and by number, and what remains is still tied to a signature."""
    for first in (1, 6, 11, 16):
        ledger.append(lines(first, first + 4))
    assert ledger.prune(before_us=0, most_entries=1000) == 0
    assert ledger.prune(before_us=receipt(8).started_us, most_entries=1000) == 5
    assert ledger.prune(before_us=0, most_entries=7) == 5
    assert checked(ledger, keys) == Chain(
        first=11, last=20, entries=10, checkpoints=3, lost=0, problems=()
    )
    assert ledger.prune(before_us=receipt(99).started_us, most_entries=1000) == 10
    ledger.append(lines(21, 22))
    found = checked(ledger, keys)
    assert (found.first, found.last, found.problems) == (21, 22, ())


def test_bodies_are_kept_and_go_with_their_receipt(ledger: Ledger) -> None:
    """What the operator wants kept, any bytes, as long as the receipt."""
    bodies = Bodies(b"{\x00\xff", b"data: {}")
    ledger.append([line(1, bodies=bodies), line(2)])
    assert ledger.bodies(receipt(1).id) == bodies
    assert ledger.bodies(receipt(2).id) is None
    ledger.prune(before_us=receipt(99).started_us, most_entries=1000)
    assert ledger.bodies(receipt(1).id) is None
