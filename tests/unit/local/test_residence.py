"""What the prefix cache decides, carried out in a memory of lists."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fallback.local.worker.lease import Save, Spill
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.residence import Blob, Residence, from_bytes
from fallback.local.worker.saved_states import key_of
from fallback.local.worker.token_trie import pack

CONTEXT = 64
HELLO, HELLO_YOU, WORLD = b"hello", b"hello you", b"a world"


class Slots:
    """A memory that keeps the tokens themselves: a state is those of its slot. `broken` names what
    fails; `log` is what was done, in order."""

    def __init__(self, slots: int) -> None:
        self.kv: list[bytes] = [b""] * slots
        self.broken: set[str] = set()
        self.log: list[tuple[object, ...]] = []

    def holds(self, slot: int, tokens: int) -> bool:
        return "holds" not in self.broken and len(self.kv[slot]) == tokens

    def clear(self, slot: int) -> None:
        self.log.append(("clear", slot))
        self.kv[slot] = b""

    def cut(self, slot: int, tokens: int) -> bool:
        self.log.append(("cut", slot, tokens))
        if "cut" in self.broken:
            return False
        self.kv[slot] = self.kv[slot][:tokens]
        return True

    def copy(self, source: int, slot: int) -> bool:
        self.log.append(("copy", source, slot))
        self.kv[slot] = self.kv[source]
        return "copy" not in self.broken

    def take(self, slot: int) -> Blob:
        self.log.append(("take", slot))
        return from_bytes(b"" if "take" in self.broken else self.kv[slot])

    def put(self, slot: int, blob: Blob) -> bool:
        self.log.append(("put", slot))
        self.kv[slot] = blob.tobytes()
        return "put" not in self.broken


class House:
    """A residence of so many slots, and all that belongs to it."""

    def __init__(
        self, slots: int = 1, budget: int = 100, min_tokens: int = 2, cuttable: bool = True
    ) -> None:
        self.cache = PrefixCache(
            slots=slots,
            context_tokens=CONTEXT,
            budget_bytes=budget,
            min_tokens=min_tokens,
            cuttable=cuttable,
        )
        self.memory = Slots(slots)
        self.disk: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.residence = Residence(self.cache, self.memory, self._read)
        self.now = 0.0

    def _read(self, key: str) -> Blob | None:
        self.asked.append(key)
        return from_bytes(self.disk[key]) if key in self.disk else None

    def enter(self, id: int, tokens: bytes) -> tuple[int, int]:
        self.now += 1
        return self.residence.enter(id, list(tokens), self.now)

    def compute(self, id: int, slot: int, tokens: bytes) -> None:
        """The model has computed the rest of it."""
        self.memory.kv[slot] = tokens
        self.residence.grown(id, len(tokens))

    def leave(self, id: int, tokens: bytes) -> None:
        self.now += 1
        self.residence.leave(id, list(tokens), self.now)

    def serve(self, id: int, tokens: bytes) -> int:
        """Begin to end; how much was there already."""
        slot, reused = self.enter(id, tokens)
        assert self.memory.kv[slot] == tokens[:reused]
        self.compute(id, slot, tokens)
        self.leave(id, tokens)
        return reused


def key(tokens: bytes) -> str:
    return key_of(pack(list(tokens)))


def test_saved_before_it_is_overwritten() -> None:
    """The state of who goes is taken before anything is done to the slot."""
    house = House()
    house.serve(1, HELLO)
    house.memory.log.clear()
    assert house.enter(2, WORLD) == (0, 0)
    assert house.memory.log == [("take", 0), ("clear", 0)]
    kept = house.residence.blob(key(HELLO))
    assert kept is not None
    assert kept.tobytes() == HELLO


def test_restored() -> None:
    """What was saved is put back, and cut to what is shared; at least one token is computed."""
    house = House()
    house.serve(1, HELLO_YOU)
    house.serve(2, WORLD)
    house.memory.log.clear()
    assert house.enter(3, HELLO) == (0, 4)
    assert house.memory.log == [("take", 0), ("put", 0), ("cut", 0, 4)]
    assert house.memory.kv == [HELLO[:4]]
    assert house.asked == []


def test_kept_where_it_lies() -> None:
    """Who goes on in its slot has nothing moved."""
    house = House()
    house.serve(1, HELLO)
    house.memory.log.clear()
    assert house.enter(2, HELLO_YOU) == (0, 5)
    assert house.memory.log == [("cut", 0, 5)]


def test_copied_from_one_that_runs() -> None:
    """The beginning of one that runs is copied, and that one keeps all it has."""
    house = House(slots=2)
    slot, _ = house.enter(1, HELLO_YOU)
    house.compute(1, slot, HELLO_YOU)
    other, reused = house.enter(2, b"hello all")
    assert (slot, other, reused) == (0, 1, 6)
    assert house.memory.kv == [HELLO_YOU, HELLO_YOU[:6]]


def test_read_from_disk() -> None:
    """A state of an earlier run comes from disk."""
    house = House()
    house.disk[key(HELLO)] = HELLO
    house.cache.adopt([Spill(key=key(HELLO), tokens=pack(list(HELLO)))])
    assert house.enter(1, HELLO_YOU) == (0, 5)
    assert house.memory.kv == [HELLO]


def test_gone_from_disk() -> None:
    """A state that another has deleted is computed, and not asked for again."""
    house = House(slots=2)
    house.cache.adopt([Spill(key=key(HELLO), tokens=pack(list(HELLO)))])
    assert house.enter(1, HELLO_YOU) == (0, 0)
    assert house.enter(2, HELLO_YOU) == (1, 0)
    assert house.asked == [key(HELLO)]


@pytest.mark.parametrize("broken", ["put", "cut", "holds"])
def test_what_cannot_be_restored(broken: str) -> None:
    """A state that the memory does not take leaves the slot empty, and is forgotten."""
    house = House()
    house.serve(1, HELLO)
    house.serve(2, WORLD)
    house.memory.broken.add(broken)
    assert house.enter(3, HELLO_YOU) == (0, 0)
    assert house.memory.kv == [b""]
    assert house.residence.blob(key(HELLO)) is None
    assert house.cache.match(list(HELLO_YOU)) == 0
    assert house.residence.take_bad() == [key(HELLO)]
    assert house.residence.take_bad() == []


@pytest.mark.parametrize("broken", ["copy", "cut", "holds"])
def test_what_cannot_be_copied(broken: str) -> None:
    """A copy that fails leaves the slot empty, and its source as it was."""
    house = House(slots=2)
    slot, _ = house.enter(1, HELLO)
    house.compute(1, slot, HELLO)
    house.memory.broken.add(broken)
    assert house.enter(2, HELLO_YOU) == (1, 0)
    assert house.memory.kv == [HELLO, b""]


@pytest.mark.parametrize("broken", ["take", "holds"])
def test_what_cannot_be_saved(broken: str) -> None:
    """Where no state comes, or not that of the tokens, none is kept: it is computed again."""
    house = House()
    house.serve(1, HELLO)
    house.memory.broken.add(broken)
    house.enter(2, WORLD)
    house.memory.broken.clear()
    assert house.residence.blob(key(HELLO)) is None
    assert house.cache.match(list(HELLO)) == 0


def test_what_has_no_room_is_dropped() -> None:
    """The bytes of a state go when the cache lets go of it."""
    house = House(budget=len(WORLD))
    house.serve(1, HELLO)
    house.serve(2, WORLD)
    house.serve(3, b"other")
    kept = [tokens for tokens in (HELLO, WORLD) if house.residence.blob(key(tokens)) is not None]
    assert kept == [WORLD]


def test_saving_gives_what_is_kept() -> None:
    """A state saved while nobody waits is that of the tokens, or none."""
    house = House()
    house.serve(1, HELLO)
    save = house.cache.backup()
    assert save == Save(key=key(HELLO), slot=0, tokens=len(HELLO))
    kept = house.residence.save(save)
    assert kept is not None
    assert kept.tobytes() == HELLO


def test_moved() -> None:
    """What lay in one context is found in the next, of another number of slots."""
    house = House(slots=2)
    house.serve(1, HELLO)
    house.serve(2, WORLD)
    house.residence.pack()
    house.memory = Slots(1)
    house.residence.move(house.memory, 1)
    assert house.serve(3, HELLO_YOU) == 5
    assert house.serve(4, WORLD) == len(WORLD) - 1


class ResidenceMachine(RuleBasedStateMachine):
    """Sequences come and go, memories fail, contexts are made anew."""

    ids = 0

    @initialize(
        slots=st.integers(1, 3),
        budget=st.sampled_from([0, 8, 20, 60]),
        cuttable=st.booleans(),
    )
    def make(self, slots: int, budget: int, cuttable: bool) -> None:
        self.house = House(slots, budget, min_tokens=1, cuttable=cuttable)
        self.running: dict[int, tuple[int, bytes]] = {}

    @precondition(lambda self: len(self.running) < len(self.house.memory.kv))
    @rule(
        tokens=st.text("ab", min_size=2, max_size=10).map(str.encode),
        broken=st.sets(st.sampled_from(["put", "cut", "copy", "take", "holds"]), max_size=1),
    )
    def enter(self, tokens: bytes, broken: set[str]) -> None:
        memory = self.house.memory
        memory.broken = broken
        slot, reused = self.house.enter(self.ids, tokens)
        memory.broken = set()
        assert slot not in [taken for taken, _ in self.running.values()]
        assert memory.kv[slot] == tokens[:reused] != tokens
        self.running[self.ids] = (slot, tokens)
        self.ids += 1

    @precondition(lambda self: self.running)
    @rule(data=st.data(), share=st.integers(0, 3))
    def leave(self, data: st.DataObject, share: int) -> None:
        id = data.draw(st.sampled_from(sorted(self.running)))
        slot, tokens = self.running.pop(id)
        held = self.house.memory.kv[slot]
        computed = tokens[: max(len(held), len(tokens) * share // 3)]
        self.house.compute(id, slot, computed)
        self.house.leave(id, computed)

    @precondition(lambda self: not self.running)
    @rule(slots=st.integers(1, 3))
    def move(self, slots: int) -> None:
        house = self.house
        house.residence.pack()
        house.memory = Slots(slots)
        house.residence.move(house.memory, slots)

    @invariant()
    def budget_is_kept(self) -> None:
        """What the index says is in RAM is what is."""
        if hasattr(self, "house"):
            blobs = self.house.residence._blobs.values()
            assert sum(map(len, blobs)) == self.house.cache.state_bytes

    @invariant()
    def who_runs_keeps_its_own(self) -> None:
        """Nobody's slot is touched by another."""
        for slot, tokens in getattr(self, "running", {}).values():
            assert tokens.startswith(self.house.memory.kv[slot])


TestResidence = ResidenceMachine.TestCase


def test_from_bytes() -> None:
    """A state from disk has the bytes it had."""
    assert np.array_equal(from_bytes(HELLO), np.array(list(HELLO), dtype=np.uint8))
