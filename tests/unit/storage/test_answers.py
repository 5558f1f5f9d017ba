"""Earlier answers in the database."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import text

from fallback.core.stale import StaleAnswer
from fallback.storage.answer_store import AnswerStore
from fallback.storage.answers import Answers, answers
from fallback.storage.database import Database
from fallback.storage.errors import StorageError


def answer(number: int, *, size: int = 10) -> StaleAnswer:
    return StaleAnswer(
        stored=1000.0 + number,
        origin=f"rcp_{number}",
        content_type="application/json",
        body=bytes([number % 256]) * size,
    )


@pytest.fixture
def store(database_place: Path | str) -> AnswerStore:
    return AnswerStore(Database(database_place), most_bytes=1000)


def test_the_last_answer_is_found(store: AnswerStore) -> None:
    """By its key, if it is not too old."""
    assert store.find("a", 0.0) is None
    store.save("a", answer(1))
    store.save("a", answer(2))
    store.save("b", answer(3))
    assert store.find("a", 0.0) == answer(2)
    assert store.find("a", 1002.0) == answer(2)
    assert store.find("a", 1002.1) is None
    assert store.find("c", 0.0) is None


def test_the_oldest_make_room(store: AnswerStore) -> None:
    """All of them together stay within the limit and a sixteenth of it."""
    for number in range(40):
        store.save(str(number), answer(number, size=60))
    kept = [number for number in range(40) if store.find(str(number), 0.0)]
    assert kept == list(range(40 - len(kept), 40))
    assert 900 <= 60 * len(kept) <= 1000 * 17 / 16 + 60


def test_one_that_is_too_large_is_not_kept(store: AnswerStore) -> None:
    """And pushes nothing out."""
    store.save("a", answer(1))
    store.save("b", answer(2, size=2000))
    assert store.find("a", 0.0) == answer(1)
    assert store.find("b", 0.0) is None


def test_an_older_schema_is_brought_up_to_date_by_a_reader(tmp_path: Path) -> None:
    """What an older version wrote can be read before anything is written."""
    place = tmp_path / "fallback.db"
    with Database(place).writing() as connection:
        connection.execute(text("DROP TABLE answers"))
        connection.execute(text("DELETE FROM migrations WHERE name = 'create_answers'"))
    assert AnswerStore(Database(place), most_bytes=10).find("a", 0.0) is None


class Broken:
    """A store whose disk fails."""

    def save(self, key: str, answer: StaleAnswer) -> None:
        raise StorageError("the disk is full")

    def find(self, key: str, since: float) -> StaleAnswer | None:
        raise StorageError("the disk is gone")


async def test_a_broken_disk_costs_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is found, nothing is raised, and it is told once."""
    kept = Answers(Broken)  # type: ignore[arg-type]
    for _ in range(3):
        kept.keep("a", answer(1))
    await kept.aclose()
    assert await kept.find("a", 0.0) is None
    assert [record.message for record in caplog.records] == [
        "earlier answers cannot be kept: the disk is full",
        "earlier answers cannot be read: the disk is gone",
    ]


async def test_a_slow_disk_is_not_given_more_than_it_can_take(tmp_path: Path) -> None:
    """What comes meanwhile is not kept; what was begun is."""
    gate = threading.Event()
    saved: list[str] = []

    class Slow:
        def save(self, key: str, answer: StaleAnswer) -> None:
            assert gate.wait(60)
            saved.append(key)

    kept = Answers(Slow)  # type: ignore[arg-type]
    for number in range(20):
        kept.keep(str(number), answer(number))
    gate.set()
    await kept.aclose()
    assert sorted(saved, key=int) == [str(number) for number in range(8)]


async def test_with_a_database(tmp_path: Path) -> None:
    """As the service uses it."""
    kept = answers(tmp_path / "fallback.db", most_bytes=1000)
    kept.keep("a", answer(1))
    await kept.aclose()
    assert await kept.find("a", 0.0) == answer(1)
