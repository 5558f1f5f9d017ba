"""The outages of a running service: in memory at once, on disk soon after."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from outage_events import OVERLOADED, START, book, change, down, evidence, request

from fallback.core.outages import Outage
from fallback.storage.outages import OutageStore
from fallback.storage.recorder import OutageRecorder

T = START
LONG_S = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "fallback.db"


@pytest.fixture
def clock() -> Iterator[float]:
    return itertools.count(T + 100)


def recorder(
    path: Path | None, clock: Iterator[float], *, beat_s: float = 3600.0
) -> OutageRecorder:
    return OutageRecorder(book(), path, clock=lambda: next(clock), beat_s=beat_s)


async def test_an_outage_is_on_disk_when_it_is_over(path: Path, clock: Iterator[float]) -> None:
    """With the request that it cost."""
    records = recorder(path, clock)
    records.noticed(evidence(), T)
    records.changed(change("healthy", "down", T))
    records.finished(request(OVERLOADED, at=T, tier="local", outage="out-1"))
    records.changed(change("down", "healthy", T + 60))
    await records.aclose()
    stored = OutageStore(path).get("out-1")
    assert stored is not None
    assert (stored.ended, stored.requests.affected, len(stored.evidence)) == (T + 60, 1, 1)


async def test_a_request_that_ends_after_its_outage_is_still_written(
    path: Path, clock: Iterator[float]
) -> None:
    """The record on disk is the last one."""
    records = recorder(path, clock)
    records.changed(change("healthy", "down", T))
    records.changed(change("down", "healthy", T + 60))
    records.finished(request(OVERLOADED, at=T + 50, tier="local"))
    await records.aclose()
    stored = OutageStore(path).get("out-1")
    assert stored is not None
    assert stored.requests.affected == 1


async def test_what_a_killed_service_leaves_says_until_when_it_watched(
    path: Path, clock: Iterator[float]
) -> None:
    """While an outage is on, the disk hears of it again and again."""
    records = recorder(path, clock, beat_s=0.001)
    records.changed(change("healthy", "down", T))
    store = OutageStore(path)

    async def until_watched() -> Outage:
        while True:
            left = await asyncio.to_thread(store.get, "out-1")
            if left is not None and left.watched_until > T + 110:
                return left

    left = await asyncio.wait_for(until_watched(), LONG_S)
    assert (left.ended, left.stopped) == (None, False)
    await records.aclose()


async def test_a_stop_in_an_outage_is_told(path: Path, clock: Iterator[float]) -> None:
    """Its end is unknown from then on, not in a minute."""
    records = recorder(path, clock)
    records.changed(change("healthy", "down", T))
    await records.aclose()
    stored = OutageStore(path).get("out-1")
    assert stored is not None
    assert stored.phase(stored.watched_until) == "unknown"


async def test_a_suspicion_is_written_when_it_has_gone_by(
    path: Path, clock: Iterator[float]
) -> None:
    """And only if a request felt it; until then it may turn out to be another's."""
    records = recorder(path, clock)
    for number in (1, 2):
        records.changed(change("healthy", "suspect", T, number=number))
    records.finished(request(OVERLOADED, at=T, tier="local", outage="out-1"))
    assert records.status()["state"] == "idle"
    records.changed(change("suspect", "healthy", T + 60, number=1))
    records.changed(change("suspect", "healthy", T + 60, number=2, because=evidence()))
    await records.aclose()
    assert [outage.id for outage in OutageStore(path).all_since(0)] == ["out-1"]


async def test_memory_and_disk_are_one_list(path: Path, clock: Iterator[float]) -> None:
    """What is in memory is newer than what is on disk; suspicions are in neither list."""
    OutageStore(path).save([down(T - 500, number=8), down(T, number=1)])
    records = recorder(path, clock)
    records.changed(change("healthy", "suspect", T + 1, number=2))
    records.changed(change("suspect", "healthy", T + 2, number=2))
    records.changed(change("healthy", "down", T, number=1))
    listed = await records.since(0)
    assert [outage.id for outage in listed] == ["out-1", "out-8"]
    assert listed[0].requests.affected == 0
    assert [outage.id for outage in await records.since(T)] == ["out-1"]
    for number in (1, 2, 8):
        assert await records.find(f"out-{number}") is not None
    assert await records.find("out-9") is None
    await records.aclose()
    assert OutageStore(path).get("out-2") is None


async def test_without_a_database_memory_serves(clock: Iterator[float]) -> None:
    """Storing can be switched off; then nothing is written and nothing waits."""
    records = recorder(None, clock)
    records.changed(change("healthy", "down", T))
    assert [outage.id for outage in await records.since(0)] == ["out-1"]
    assert records.status() == {
        "path": None,
        "unread": None,
        "state": "idle",
        "waiting": 0,
        "lost": 0,
        "error": None,
    }
    await records.aclose()


async def test_a_database_that_cannot_be_used_is_told_and_memory_serves(
    tmp_path: Path, clock: Iterator[float], caplog: pytest.LogCaptureFixture
) -> None:
    """In the status and in the log; a request notices nothing."""
    records = recorder(tmp_path, clock)
    records.changed(change("healthy", "down", T))
    assert [outage.id for outage in await records.since(0)] == ["out-1"]
    assert records.status()["unread"].startswith(f"{tmp_path}: ")
    await records.aclose()
    assert records.status()["state"] == "failing"
    assert "1 outages are not on disk" in caplog.text


_LIGHT = """
import sys
from fallback.bootstrap import Service
from fallback.config import load
Service(load(None, {"FALLBACK_LOCAL__MODE": "off"}), {})
print(sorted({"sqlalchemy", "sqlite3", "rich"} & set(sys.modules)))
"""


def test_a_service_without_an_outage_loads_no_database() -> None:
    """It starts fast and stays small."""
    run = subprocess.run(
        [sys.executable, "-c", _LIGHT], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout.strip() == "[]"
