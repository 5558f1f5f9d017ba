"""Receipts that wait, with and without a journal."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from ledger_lines import line, receipt

from fallback.core.receipt import Gap, canonical
from fallback.storage.journal import Journal, LeftBehind
from fallback.storage.pending import Pending


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path / "ours" / "journals", segment_bytes=4096)


def pending(journal: Journal | None, *, limit: int = 100_000, part: int = 2000) -> Pending:
    return Pending(
        (lambda least_bytes: None) if journal is None else journal.segment,
        limit_bytes=limit,
        part_bytes=part,
        software="test",
    )


def left(journal: Journal) -> LeftBehind:
    """What the next process would find."""
    journal._lock.release()
    other = Journal(journal._folder)
    try:
        return next(found for found, _ in other.left_behind())
    finally:
        other.close(keep=False)
        journal._lock.acquire()


def begin(waiting: Pending, number: int) -> None:
    waiting.begun(receipt(number).id, canonical(receipt(number)))


def test_what_waits_is_taken_in_order(journal: Journal) -> None:
    """All of it, and again until it is written."""
    waiting = pending(journal)
    for number in range(10):
        waiting.add(line(number))
    for _ in range(2):
        parts, gap = waiting.take()
        taken = [each.receipt.id for part in parts for each in part.lines]
        assert taken == [receipt(number).id for number in range(10)]
        assert gap is None
    waiting.add(line(10))
    waiting.written(parts, None)
    assert waiting.waiting == 1
    assert waiting.find(receipt(10).id) == line(10).content
    assert waiting.find(receipt(9).id) is None


def test_what_waits_outlives_us(journal: Journal) -> None:
    """Receipts that are not written, and requests that are not answered; nothing else."""
    waiting = pending(journal)
    for number in range(12):
        begin(waiting, number)
    for number in range(10):
        waiting.add(line(number))
    parts, _ = waiting.take()
    waiting.written(parts, None)
    waiting.add(line(10))
    found = left(journal)
    assert found.receipts == (line(10).content,)
    assert found.unanswered == (canonical(receipt(11)),)


def test_a_request_is_known_of_through_all_segments(journal: Journal) -> None:
    """One that takes long is noted anew whenever a segment goes."""
    waiting = pending(journal)
    begin(waiting, 0)
    for number in range(1, 30):
        begin(waiting, number)
        waiting.add(line(number))
        waiting.written(waiting.take()[0], None)
    assert left(journal) == ((), (canonical(receipt(0)),))


def test_over_the_limit_the_oldest_are_lost_and_counted() -> None:
    """What is lost, and what waits, are all that were added; the gap says of when."""
    waiting = pending(None, limit=10_000)
    for number in range(100):
        waiting.add(line(number))
    parts, gap = waiting.take()
    kept = [each.receipt for part in parts for each in part.lines]
    assert gap is not None
    assert gap.lost + len(kept) == 100
    assert gap.lost == waiting.lost > 50
    assert [each.id for each in kept] == [receipt(n).id for n in range(gap.lost, 100)]
    assert (gap.from_us, gap.until_us) == (
        receipt(0).started_us,
        receipt(gap.lost - 1).started_us,
    )


def test_what_is_lost_later_is_another_gap() -> None:
    """A gap that is written is not told again, and what came after it is."""
    waiting = pending(None, limit=10_000)
    numbers = itertools.count()
    told = 0
    for _ in range(3):
        for number in itertools.islice(numbers, 50):
            waiting.add(line(number))
        parts, gap = waiting.take()
        assert isinstance(gap, Gap)
        told += gap.lost
        for number in itertools.islice(numbers, 50):  # while it is being written
            waiting.add(line(number))
        waiting.written(parts, gap)
    parts, gap = waiting.take()
    told += gap.lost if gap else 0
    assert told == waiting.lost


def test_what_was_given_up_while_it_was_written_is_not_lost() -> None:
    """It is in the database: nobody has to be told that it is missing."""
    waiting = pending(None, limit=10_000)
    for number in range(20):
        waiting.add(line(number))
    parts, _ = waiting.take()
    for number in range(20, 100):  # more than may wait, while the first are being written
        waiting.add(line(number))
    waiting.written(parts, None)
    written = sum(len(part.lines) for part in parts)
    parts, gap = waiting.take()
    assert gap is not None
    assert written + sum(len(part.lines) for part in parts) + gap.lost == 100
    assert gap.lost == waiting.lost


def test_without_room_for_a_journal_all_else_goes_on() -> None:
    """A full memory costs what would outlive us, nothing more."""

    def full(least_bytes: int) -> None:
        raise OSError("no space left")

    waiting = Pending(full, limit_bytes=10_000, software="test")
    begin(waiting, 1)
    waiting.add(line(1))
    assert waiting.waiting == 1


def test_closing_keeps_what_is_not_written(journal: Journal) -> None:
    """Only where all is done is nothing left."""
    waiting = pending(journal)
    begin(waiting, 1)
    assert not waiting.close()
    waiting = pending(journal)
    waiting.add(line(1))
    assert not waiting.close()
    waiting.written(waiting.take()[0], None)
    assert waiting.close()
