"""Writing states to disk while nobody waits, in a time of its own."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fallback.local.worker.keeper import QUIET_S, Keeper
from fallback.local.worker.lease import Spill
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.residence import Blob, Residence, from_bytes
from fallback.local.worker.saved_states import key_of
from fallback.local.worker.spill import Blob as Bytes
from fallback.local.worker.spill import SpillStore
from fallback.local.worker.spill_writer import SpillWriter
from fallback.local.worker.token_trie import pack, unpack

SLOTS = 8


class Slots:
    """A memory whose states are the tokens of its slots."""

    def __init__(self) -> None:
        self.kv = [b""] * SLOTS

    def holds(self, slot: int, tokens: int) -> bool:
        return len(self.kv[slot]) == tokens

    def clear(self, slot: int) -> None:
        self.kv[slot] = b""

    def cut(self, slot: int, tokens: int) -> bool:
        self.kv[slot] = self.kv[slot][:tokens]
        return True

    def copy(self, source: int, slot: int) -> bool:
        self.kv[slot] = self.kv[source]
        return True

    def take(self, slot: int) -> Blob:
        return from_bytes(self.kv[slot])

    def put(self, slot: int, blob: Blob) -> bool:
        self.kv[slot] = blob.tobytes()
        return True


class Disk(SpillStore):
    """A disk that writes when it is let, and says so."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, 10_000, "model 1")
        self.gate = threading.Event()
        self.gate.set()
        self.written = threading.Semaphore(0)

    def write(self, spill: Spill, state: Bytes) -> tuple[str, ...]:
        assert self.gate.wait(60)
        dropped = super().write(spill, state)
        self.written.release()
        return dropped

    def tokens(self) -> set[bytes]:
        """What is there."""
        return {bytes(unpack(spill.tokens)) for spill in self.load_index()}


class House:
    """A keeper, those it asks, and a clock that is moved by hand."""

    def __init__(self, folder: Path, *, disk: bool = True, backlog: int = 4) -> None:
        self.now = 0.0
        self.disk = Disk(folder)
        self.cache = PrefixCache(
            slots=SLOTS, context_tokens=100 * SLOTS, budget_bytes=1000, min_tokens=2
        )
        self.memory = Slots()
        self.residence = Residence(self.cache, self.memory, lambda key: None)
        self.writer = SpillWriter(self.disk, backlog=backlog)
        writer = self.writer if disk else None
        self.keeper = Keeper(self.cache, self.residence, writer, lambda: self.now)
        self.ids = 0

    def serve(self, tokens: bytes) -> None:
        self.ids += 1
        slot, _ = self.residence.enter(self.ids, list(tokens), self.now)
        self.memory.kv[slot] = tokens
        self.residence.leave(self.ids, list(tokens), self.now)
        self.keeper.worked()

    def tidy(self) -> list[float]:
        """What the keeper says when it is asked again and again, until it has to wait."""
        said = [self.keeper.tidy()]
        while said[-1] == 0.0:
            said.append(self.keeper.tidy())
        return said


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = House(tmp_path)
    yield house
    house.disk.gate.set()
    house.writer.close(60)


def test_nothing_before_it_is_quiet(house: House) -> None:
    """While somebody may come back at any moment nothing is saved, and the wait is told."""
    house.serve(b"hello")
    house.now += QUIET_S / 4
    assert house.keeper.tidy() == pytest.approx(QUIET_S * 3 / 4)
    assert house.keeper.cache_bytes == 0
    house.serve(b"world")
    house.now += QUIET_S - 0.5
    assert house.keeper.tidy() == pytest.approx(0.5)
    assert house.cache.spillable() is None


def test_all_is_written_in_the_quiet(house: House) -> None:
    """After a while without work each state is saved and written, one piece of work at a time."""
    for word in (b"hello", b"world"):
        house.serve(word)
    house.now += QUIET_S
    said = house.tidy()
    assert said[:4] == [0.0] * 4
    for _ in range(2):
        assert house.disk.written.acquire(timeout=60)
    assert house.disk.tokens() == {b"hello", b"world"}


def test_what_lies_in_a_slot_and_on_disk_takes_no_ram(house: House) -> None:
    """The copy that was made to be written is dropped once it is."""
    house.serve(b"hello")
    house.now += QUIET_S
    while house.tidy()[-1] != math.inf:
        house.disk.written.acquire(timeout=0.05)
    assert house.keeper.cache_bytes == 0
    assert house.residence.blob(key_of(pack(list(b"hello")))) is None
    assert house.cache.match(list(b"hello you")) == len(b"hello")


def test_what_is_no_good_is_deleted(house: House) -> None:
    """A state on disk that the memory does not take is not offered to the next life."""
    spill = Spill(key="bad", tokens=pack(list(b"hello")))
    house.disk.write(spill, b"no state")
    house.cache.adopt([spill])
    house.serve(b"hello you")
    house.keeper.tidy()
    assert house.writer.close(60)
    assert b"hello" not in house.disk.tokens()


def test_all_done(house: House) -> None:
    """When all is on disk there is nothing to wait for, and nothing is written twice."""
    house.serve(b"hello")
    house.now += QUIET_S
    house.tidy()
    assert house.writer.close(60)
    assert house.tidy() == [math.inf]
    assert house.keeper.tidy() == math.inf
    assert [house.disk.written.acquire(blocking=False) for _ in range(2)] == [True, False]


def test_a_slow_disk_is_not_given_more_than_it_can_take(house: House) -> None:
    """What waits to be written is bounded; the rest is offered when there is room again."""
    house.disk.gate.clear()
    words = {bytes([65 + n]) * 5 for n in range(6)}
    for word in words:
        house.serve(word)
    house.now += QUIET_S
    waits = house.tidy()
    assert 0 < waits[-1] < 1
    assert not house.writer.has_room
    house.disk.gate.set()
    for _ in range(4):
        assert house.disk.written.acquire(timeout=60)
    while house.tidy()[-1] != math.inf:
        house.disk.written.acquire(timeout=0.05)
    assert house.disk.tokens() == words


def test_a_longer_state_replaces_its_beginning_on_disk(house: House) -> None:
    """What says nothing more than a longer state is deleted."""
    for word in (b"hello", b"hello you"):
        house.serve(word)
        house.now += QUIET_S
        while house.tidy()[-1] != math.inf:
            house.disk.written.acquire(timeout=0.05)
    assert house.writer.close(60)
    assert house.disk.tokens() == {b"hello you"}


def test_flush(house: House) -> None:
    """At the end all is written at once, however lately it was served, and however much."""
    house.disk.gate.clear()
    words = {bytes([65 + n]) * 5 for n in range(SLOTS)}
    for word in words:
        house.serve(word)
    threading.Timer(0.0, house.disk.gate.set).start()
    house.keeper.flush(house.now + 60)
    assert house.disk.tokens() == words


def test_flush_ends_in_time(house: House) -> None:
    """A disk that does not answer does not hold up the end."""
    house.disk.gate.clear()
    house.serve(b"hello")
    house.keeper.flush(house.now)
    assert house.disk.tokens() == set()


def test_without_a_disk(tmp_path: Path) -> None:
    """Where nothing may be written, nothing is done."""
    house = House(tmp_path, disk=False)
    house.serve(b"hello")
    house.now += QUIET_S
    assert house.keeper.tidy() == math.inf
    house.keeper.flush(house.now + 1)
    assert house.keeper.cache_bytes == 0
    house.writer.close(60)
