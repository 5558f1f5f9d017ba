"""The thread that writes outages."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from outage_events import START, down

from fallback.core.outages import Outage
from fallback.storage.errors import StorageError
from fallback.storage.writer import Writer, retry_delay_s

LONG_S = 30.0


class Disk:
    """Where batches go: it may hang until it is let go, and fail while it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.fault: Exception | None = None
        self.free = threading.Event()
        self.free.set()
        self.asked = threading.Semaphore(0)
        self.written = threading.Event()

    def save(self, outages: Sequence[Outage]) -> None:
        self.asked.release()
        assert self.free.wait(LONG_S)
        if self.fault is not None:
            raise self.fault
        self.batches.append([outage.id for outage in outages])
        self.written.set()

    def await_asked(self) -> None:
        assert self.asked.acquire(timeout=LONG_S)


@pytest.fixture
def disk() -> Disk:
    return Disk()


def writer(disk: Disk, *, limit: int = 200, delay_s: float = 0.0) -> Writer:
    return Writer(disk.save, limit=limit, delay_s=lambda failures: delay_s)


def test_there_is_no_thread_until_there_is_something_to_write(disk: Disk) -> None:
    """A service without an outage has none."""
    before = threading.active_count()
    idle = writer(disk)
    assert idle.status().state == "idle"
    assert threading.active_count() == before
    idle.close(LONG_S)


def test_what_is_put_is_written_before_the_end(disk: Disk) -> None:
    """Closing waits for it."""
    w = writer(disk)
    w.put(down())
    w.close(LONG_S)
    assert disk.batches == [["out-1"]]
    assert (w.status().state, w.status().waiting) == ("ok", 0)


def test_a_disk_that_hangs_delays_nobody(disk: Disk) -> None:
    """Meanwhile outages gather, each once; then they go in one batch."""
    disk.free.clear()
    w = writer(disk)
    w.put(down(number=1))
    disk.await_asked()
    for number in (2, 3, 2):
        w.put(down(number=number))
    assert w.status().waiting == 3
    disk.free.set()
    w.close(LONG_S)
    assert disk.batches == [["out-1"], ["out-2", "out-3"]]


def test_a_change_during_its_own_writing_is_written_too(disk: Disk) -> None:
    """The older state on disk does not pass for the newest."""
    disk.free.clear()
    w = writer(disk)
    w.put(down(number=1))
    disk.await_asked()
    w.put(down(START + 1, number=1))
    disk.free.set()
    w.close(LONG_S)
    assert disk.batches == [["out-1"], ["out-1"]]


def test_what_fails_is_tried_again(disk: Disk, caplog: pytest.LogCaptureFixture) -> None:
    """The error stands in status and log, once, until writing works again."""
    disk.fault = StorageError("disk full")
    w = writer(disk)
    w.put(down())
    for _ in range(3):
        disk.await_asked()
    status = w.status()
    assert (status.state, status.waiting, status.error) == ("failing", 1, "disk full")
    disk.fault = None
    assert disk.written.wait(LONG_S)
    w.close(LONG_S)
    assert disk.batches == [["out-1"]]
    assert w.status().error is None
    assert caplog.messages == [
        "outages cannot be written, 1 wait: disk full",
        "outages are written again",
    ]


def test_over_the_limit_the_oldest_is_lost_and_counted(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """A disk that never comes back costs bounded memory."""
    disk.fault = OSError("gone")
    w = writer(disk, limit=3, delay_s=LONG_S)
    for number in range(5):
        w.put(down(number=number))
    assert (w.status().waiting, w.status().lost) == (3, 2)
    w.close(LONG_S)
    assert "the oldest are lost" in caplog.text
    assert "3 outages are not on disk (gone)" in caplog.messages


def test_a_hanging_disk_does_not_hold_up_the_end(
    disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """Closing gives up after its time and says what is not on disk."""
    disk.free.clear()
    w = writer(disk)
    w.put(down())
    disk.await_asked()
    w.close(0.01)
    assert caplog.messages == ["1 outages are not on disk (it is too slow)"]
    disk.free.set()


def test_tries_become_rarer() -> None:
    """Twice as long each time, a minute at most."""
    assert [retry_delay_s(n) for n in (1, 2, 3, 10, 10_000)] == [2.0, 4.0, 8.0, 60.0, 60.0]
