"""The prefix cache's rules, one by one. Sequences are words: a letter is a token."""

from __future__ import annotations

import pytest

from fallback.local.worker.lease import Copy, Keep, Lease, Restore, Save, Spill
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.saved_states import key_of
from fallback.local.worker.token_trie import pack


def tokens(word: str) -> tuple[int, ...]:
    return tuple(map(ord, word))


def key(word: str) -> str:
    return key_of(pack(tokens(word)))


def spill(word: str) -> Spill:
    return Spill(key=key(word), tokens=pack(tokens(word)))


class Cache(PrefixCache):
    """Each token of a state takes a byte; each call is a second after the last."""

    def __init__(
        self,
        slots: int = 1,
        budget: int = 100,
        min_tokens: int = 2,
        context: int = 1000,
        cuttable: bool = True,
    ) -> None:
        super().__init__(
            slots=slots,
            context_tokens=context,
            budget_bytes=budget,
            min_tokens=min_tokens,
            cuttable=cuttable,
        )
        self.now = 0.0

    def start(self, id: int, word: str) -> Lease:
        self.now += 1
        return self.acquire(id, tokens(word), self.now)

    def end(self, id: int, word: str) -> None:
        self.now += 1
        self.release(id, tokens(word), self.now)

    def serve(self, id: int, word: str) -> tuple[str, ...]:
        """A sequence from start to end, its saves carried out. Returns what RAM dropped."""
        lease = self.start(id, word)
        dropped = [gone for save in lease.saves for gone in self.saved(save.key, save.tokens)]
        self.end(id, word)
        return tuple(dropped)


def test_the_next_turn_keeps_its_slot() -> None:
    """What a conversation has computed stays where it lies, and only the new is computed."""
    cache = Cache(slots=2)
    cache.serve(1, "hello")
    cache.serve(2, "other")
    lease = cache.start(3, "hello you")
    assert lease == Lease(slot=0, reused=5, source=Keep())


def test_the_last_token_is_computed() -> None:
    """The same prompt again is computed from its last token: that is sampled from."""
    cache = Cache()
    cache.serve(1, "hello")
    assert cache.match(tokens("hello")) == 4
    assert cache.start(2, "hello") == Lease(slot=0, reused=4, source=Keep())


def test_keeping_is_cheaper_than_copying() -> None:
    """A conversation goes on in its slot though another is empty."""
    cache = Cache(slots=2)
    cache.serve(1, "hello")
    assert cache.start(2, "hello you") == Lease(slot=0, reused=5, source=Keep())


def test_a_branch_displaces_the_oldest() -> None:
    """Where something has to be saved anyway, the one used longest ago goes, not the trunk."""
    cache = Cache(slots=2)
    cache.serve(1, "older")
    cache.serve(2, "system: a long conversation")
    lease = cache.start(3, "system: something else")
    assert (lease.slot, lease.source) == (0, Copy(1))


@pytest.mark.parametrize("disk_first", [True, False])
def test_ram_is_preferred_to_the_disk(disk_first: bool) -> None:
    """Of two states that serve alike the one in RAM is restored."""
    cache = Cache()
    if disk_first:
        cache.adopt([spill("hello you")])
    cache.serve(1, "hello me")
    cache.serve(2, "other")
    if not disk_first:
        cache.adopt([spill("hello you")])
    assert cache.start(3, "hello!").source == Restore(key("hello me"), 8)


def test_a_running_sequence_lends_its_beginning() -> None:
    """What a running sequence has computed of its prompt is copied to another slot."""
    cache = Cache(slots=2)
    cache.start(1, "hello you")
    assert cache.match(tokens("hello me")) == 0
    cache.grown(1, 4)
    assert cache.match(tokens("hello me")) == 4
    assert cache.start(2, "hello me") == Lease(slot=1, reused=4, source=Copy(0))


def test_little_is_not_worth_it() -> None:
    """A beginning of fewer tokens than the least is computed anew."""
    cache = Cache(min_tokens=4)
    cache.serve(1, "abc-")
    assert cache.match(tokens("abcdef")) == 0
    assert cache.start(2, "abcdef") == Lease(
        slot=0, reused=0, source=None, saves=(Save(key=key("abc-"), slot=0, tokens=4),)
    )


def test_displaced_is_saved_and_comes_back() -> None:
    """A sequence that loses its slot is saved before, and restored when it goes on."""
    cache = Cache()
    cache.serve(1, "hello")
    assert cache.start(2, "world").saves == (Save(key=key("hello"), slot=0, tokens=5),)
    assert cache.saved(key("hello"), 5) == ()
    cache.end(2, "world")
    lease = cache.start(3, "hello you")
    assert lease.source == Restore(key("hello"), 5)
    assert lease.reused == 5
    assert lease.saves == (Save(key=key("world"), slot=0, tokens=5),)


@pytest.mark.parametrize(("answer", "saved"), [("four", False), ("twelve chars", True)])
def test_an_end_that_is_small_beside_the_whole_is_not_saved(answer: str, saved: bool) -> None:
    """The same long prompt asked again: its last answer is lost, unless it is worth the bytes."""
    cache = Cache()
    prompt = "p" * 79
    cache.serve(1, prompt + answer)
    lease = cache.start(2, prompt + "?")
    assert (lease.source, lease.reused) == (Keep(), len(prompt))
    assert bool(lease.saves) is saved


def test_the_longest_wins() -> None:
    """A saved state that holds more is preferred to a slot that holds less."""
    cache = Cache()
    cache.serve(1, "abcdef")
    cache.serve(2, "abc-----")
    assert cache.start(3, "abcdefgh").source == Restore(key("abcdef"), 6)


def test_the_oldest_gives_way() -> None:
    """Where all slots hold something of worth, the one used longest ago is displaced."""
    cache = Cache(slots=3)
    for id, word in enumerate(["first", "second", "third"]):
        cache.serve(id, word)
    cache.serve(4, "first")
    assert cache.start(5, "new").saves == (Save(key=key("second"), slot=1, tokens=6),)


def test_what_is_held_twice_gives_way_first() -> None:
    """A slot whose tokens another slot holds too is displaced before an older one."""
    cache = Cache(slots=3)
    cache.serve(1, "older")
    cache.start(2, "hello you")
    cache.grown(2, 6)
    cache.start(3, "hello me")
    cache.end(3, "hello me")
    cache.end(2, "hello me too")
    assert cache.start(4, "new") == Lease(slot=2, reused=0, source=None)


def test_a_branch_does_not_cost_the_trunk() -> None:
    """A sequence that parts early from a long one is copied beside it, not cut out of it."""
    cache = Cache(slots=2)
    cache.serve(1, "system: a long conversation")
    lease = cache.start(2, "system: something else")
    assert lease == Lease(slot=1, reused=8, source=Copy(0))


def test_cutting_saves_first() -> None:
    """Where there is no other slot, the long one is saved before it is cut."""
    cache = Cache()
    cache.serve(1, "system: a long conversation")
    lease = cache.start(2, "system: something else")
    assert lease.source == Keep()
    assert [save.tokens for save in lease.saves] == [27]


def test_what_was_used_longest_ago_is_dropped() -> None:
    """RAM drops the states used longest ago; restoring one is using it."""
    cache = Cache(budget=10)
    for id, word in enumerate(["aaaa", "bbbb", "cccc"]):
        cache.serve(id, word)
    assert cache.serve(4, "aaaa-") == (key("bbbb"),)
    assert cache.state_bytes == 8


def test_restoring_is_using() -> None:
    """A state that was restored outlasts one that was saved after it but not used."""
    cache = Cache(budget=12)
    for id, word in enumerate(["aaaa", "bbbb", "cccc", "aa--"]):
        cache.serve(id, word)
    assert cache.serve(5, "dddd") == (key("bbbb"),)


def test_no_room_beside_what_is_being_restored() -> None:
    """A state that does not fit beside the one that the same lease restores is not kept, and
    pushes no other out."""
    cache = Cache(budget=9)
    for id, word in enumerate(["aaaa", "cccc", "bbbbbb"]):
        cache.serve(id, word)
    assert cache.start(4, "aaaa-").source == Restore(key("aaaa"), 4)
    assert cache.saved(key("bbbbbb"), 6) == (key("bbbbbb"),)
    assert cache.state_bytes == 8


def test_the_beginning_of_another_is_dropped() -> None:
    """A state that is the beginning of one that comes in is dropped, though there is room."""
    cache = Cache()
    for id, word in enumerate(["hello", "-----", "hello you"]):
        cache.serve(id, word)
    assert cache.serve(4, "another") == (key("hello"),)


def test_too_large_is_not_asked_for_twice() -> None:
    """A state larger than the whole budget is refused, and none as long is made again."""
    cache = Cache(budget=4)
    cache.serve(1, "aaaaaa")
    assert cache.serve(2, "bbbbbb") == (key("aaaaaa"),)
    assert cache.start(3, "cccccc").saves == ()


def test_a_short_state_may_be_large() -> None:
    """Where states are of one size (recurrent models), a short one does not make all longer ones
    seem too large."""
    cache = Cache(budget=100, cuttable=False)
    cache.serve(1, "abc")
    save = cache.start(2, "longer than that").saves[0]
    cache.saved(save.key, 90)
    cache.end(2, "longer than that")
    save = cache.start(3, "x").saves[0]
    assert cache.saved(save.key, 90) == (key("abc"),)


def test_no_budget_no_saves() -> None:
    """Without a budget nothing is saved, and slots are reused all the same."""
    cache = Cache(budget=0)
    cache.serve(1, "hello")
    assert cache.start(2, "world") == Lease(slot=0, reused=0, source=None)
    cache.end(2, "world")
    assert cache.start(3, "worlds").reused == 5
    assert cache.backup() is None


def test_uncuttable_whole_states_only() -> None:
    """A memory that cannot be cut serves only a sequence that goes on where it stands, and is
    saved there before."""
    cache = Cache(cuttable=False)
    cache.serve(1, "hello")
    assert cache.match(tokens("hell")) == cache.match(tokens("hello")) == 0
    assert cache.match(tokens("hello you")) == 5
    lease = cache.start(2, "hello you")
    assert lease.source == Keep()
    assert lease.saves == (Save(key=key("hello"), slot=0, tokens=5),)


def test_uncuttable_a_running_twin_moves_on() -> None:
    """There a sequence that runs from the same tokens does not keep them for others."""
    cache = Cache(slots=2, cuttable=False)
    cache.start(1, "hello")
    cache.start(2, "hello")
    cache.grown(2, 5)
    cache.end(1, "hello")
    assert len(cache.start(3, "world").saves) == 1


def test_uncuttable_beginnings_stay() -> None:
    """There a state stays beside one that goes on from it, and each is restored for its own."""
    cache = Cache(cuttable=False)
    for id, word in enumerate(["hello", "hello you", "other"]):
        assert cache.serve(id, word) == ()
    assert cache.start(4, "hello me").source == Restore(key("hello"), 5)


def test_failed() -> None:
    """A state that could not be restored is forgotten, and the sequence computed anew."""
    cache = Cache()
    cache.serve(1, "hello")
    cache.serve(2, "world")
    cache.start(3, "hello you")
    assert cache.failed(3) == (key("hello"),)
    assert cache.match(tokens("hello me")) == 0


def test_a_later_failure_is_not_the_states_fault() -> None:
    """Once the sequence has grown, what fails then does not cost the state it came from."""
    cache = Cache()
    cache.serve(1, "hello")
    cache.serve(2, "world")
    cache.start(3, "hello you")
    cache.grown(3, 6)
    assert cache.failed(3) == ()
    assert cache.match(tokens("hello you")) == 5


def test_lost() -> None:
    """A state that could not be made is not waited for, one that is gone is not matched."""
    cache = Cache()
    cache.serve(1, "hello")
    save = cache.start(2, "world").saves[0]
    cache.lost(save.key)
    with pytest.raises(KeyError):
        cache.saved(save.key, 5)
    cache.adopt([spill("again")])
    assert cache.match(tokens("again!")) == 5
    cache.lost(key("again"))
    assert cache.match(tokens("again!")) == 0


def test_one_slot_each() -> None:
    """A sequence has one slot, and there are no more than there are."""
    cache = Cache()
    cache.start(1, "hello")
    with pytest.raises(ValueError, match="the sequence 1 has a slot already"):
        cache.start(1, "hello")
    with pytest.raises(ValueError, match="no slot is free"):
        cache.start(2, "world")


def test_clear_slots() -> None:
    """Before a context goes, all residents are saved, but none while a sequence runs."""
    cache = Cache(slots=2)
    cache.serve(1, "hello")
    cache.start(2, "world")
    with pytest.raises(ValueError, match="sequences are running"):
        cache.clear_slots()
    cache.end(2, "world")
    saves = cache.clear_slots()
    assert [save.key for save in saves] == [key("hello"), key("world")]
    assert cache.resident_tokens == 0
    assert cache.clear_slots() == ()


def test_clear_slots_saves_the_last_used_last() -> None:
    """Where the budget is too small for all residents, the last used stay."""
    cache = Cache(slots=3, budget=10)
    for id, word in enumerate(["first", "second", "third"]):
        cache.serve(id, word)
    cache.serve(4, "first")
    saves = cache.clear_slots()
    assert [save.slot for save in saves] == [1, 2, 0]
    assert [cache.saved(save.key, 5) for save in saves] == [(), (), (key("second"),)]


def test_resize() -> None:
    """After another context was made, what was saved of the old one is restored into it."""
    cache = Cache(slots=1)
    cache.serve(1, "hello")
    with pytest.raises(ValueError, match="the slots are not clear"):
        cache.resize(2)
    cache.saved(cache.clear_slots()[0].key, 5)
    cache.resize(2)
    cache.start(2, "world")
    assert cache.start(3, "hello you").source == Restore(key("hello"), 5)


def test_a_state_longer_than_a_slot() -> None:
    """A state that no slot has room for is not restored, but kept for when one has again."""
    cache = Cache(slots=1, context=10)
    cache.serve(1, "hello you")
    cache.saved(cache.clear_slots()[0].key, 9)
    cache.resize(2)
    assert cache.match(tokens("hello")) == 0
    assert cache.match(tokens("hello you!")) == 9  # it will have a slot that is large enough
    assert cache.start(2, "hello") == Lease(slot=0, reused=0, source=None)
    cache.end(2, "hello")
    cache.clear_slots()
    cache.resize(1)
    assert cache.start(3, "hello").source == Restore(key("hello you"), 9)


def test_backup() -> None:
    """An idle resident is saved once for each of its contents, the last used first."""
    cache = Cache(slots=3)
    cache.serve(1, "hello")
    cache.serve(2, "world")
    cache.start(3, "running")
    backed_up = []
    while save := cache.backup():
        backed_up.append(save.slot)
        cache.saved(save.key, save.tokens)
    assert backed_up == [1, 0]
    cache.serve(4, "hello you")
    save = cache.backup()
    assert save == Save(key=key("hello you"), slot=0, tokens=9)


def test_backup_that_fails() -> None:
    """A resident whose state cannot be had is not asked for again."""
    cache = Cache()
    cache.serve(1, "hello")
    save = cache.backup()
    assert save is not None
    cache.lost(save.key)
    assert cache.backup() is None


def test_backup_pushes_nothing_out() -> None:
    """A resident is not saved in place of a state that would be lost; one on disk gives way."""
    cache = Cache(budget=5)
    cache.serve(1, "hello")
    cache.serve(2, "world")
    assert cache.backup() is None
    assert cache.spillable() == spill("hello")
    cache.spilled(spill("hello"))
    save = cache.backup()
    assert save == Save(key=key("world"), slot=0, tokens=5)
    assert cache.saved(save.key, 5) == (key("hello"),)
    assert cache.match(tokens("hello!")) == 5


def test_backup_spares_older_states() -> None:
    """What gives way to a backup is what the disk has, not what was used longest ago."""
    cache = Cache(budget=10)
    cache.serve(1, "older")
    cache.serve(2, "newer")
    cache.serve(3, "last!")
    assert cache.spillable() == spill("newer")
    cache.spilled(spill("newer"))
    save = cache.backup()
    assert save is not None
    assert cache.saved(save.key, 5) == (key("newer"),)


def test_backup_larger_than_thought() -> None:
    """A backup that turns out too large for what is left is not kept, and pushes nothing out."""
    cache = Cache(budget=10)
    cache.serve(1, "hello")
    cache.serve(2, "abc")
    save = cache.backup()
    assert save is not None
    assert cache.saved(save.key, 6) == (save.key,)
    assert cache.match(tokens("hello!")) == 5


def test_spillable() -> None:
    """What lies only in RAM is offered to the disk once, the last used first."""
    cache = Cache()
    for id, word in enumerate(["first", "second", "third"]):
        cache.serve(id, word)
    assert cache.spillable() == spill("second")
    assert cache.spillable() == spill("first")
    assert cache.spillable() is None


def test_the_disk_keeps_no_beginnings() -> None:
    """When a longer state is on disk, those that it begins with need not be."""
    cache = Cache()
    cache.adopt([spill("hello"), spill("help"), spill("other")])
    assert cache.spilled(spill("hello you")) == (key("hello"),)
    assert cache.spilled(spill("new"), dropped=[key("help"), key("new")]) == ()
    assert cache.match(tokens("help!")) == 3
    assert cache.match(tokens("new!")) == 0
    assert cache.match(tokens("hello me")) == 6


def test_threefold() -> None:
    """What a slot holds and the disk has leaves RAM; what only one of them has stays."""
    cache = Cache(slots=2)
    cache.serve(1, "hello")
    cache.serve(2, "world")
    for _ in range(2):
        save = cache.backup()
        assert save is not None
        cache.saved(save.key, save.tokens)
    assert cache.threefold() == ()
    cache.spilled(spill("hello"))
    assert cache.threefold() == (key("hello"),)
    assert cache.state_bytes == len("world")
    assert cache.start(3, "other").saves == ()
    assert cache.start(4, "hello you").source == Restore(key("hello"), 5)


def test_repr() -> None:
    """What the cache holds can be read at a glance."""
    cache = Cache(slots=2)
    cache.serve(1, "hello")
    cache.start(2, "world")
    assert repr(cache) == (
        "<PrefixCache running=1/2 resident_tokens=5 <SavedStates known=0 in_ram=0 ram_bytes=0/100>>"
    )
