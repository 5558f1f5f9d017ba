"""The prefix cache against a naive executor that keeps every token in lists."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fallback.local.worker.lease import Copy, Keep, Lease, Restore, Save
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.token_trie import unpack

Tokens = tuple[int, ...]
BYTES_PER_TOKEN = 10
LONGEST = 12
CONTEXT = 30


def naive_common(one: Tokens, other: Tokens) -> int:
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class NaiveExecutor:
    """A context of lists, which carries leases out as `lease.py` tells."""

    def __init__(self, cache: PrefixCache, slots: int) -> None:
        self.cache = cache
        self.kv: list[Tokens] = [()] * slots
        self.ram: dict[str, Tokens] = {}
        self.disk: dict[str, Tokens] = {}

    def save(self, saves: Iterable[Save]) -> None:
        for save in saves:
            state = self.kv[save.slot]
            assert len(state) == save.tokens
            self.ram[save.key] = state
            for key in self.cache.saved(save.key, len(state) * BYTES_PER_TOKEN):
                del self.ram[key]

    def attach(self, tokens: Tokens, lease: Lease, *, cuttable: bool) -> None:
        self.save(lease.saves)
        held = self._bring(lease)
        assert cuttable or len(held) == lease.reused
        self.kv[lease.slot] = held[: lease.reused]
        assert self.kv[lease.slot] == tokens[: lease.reused]

    def _bring(self, lease: Lease) -> Tokens:
        source = lease.source
        if isinstance(source, Keep):
            return self.kv[lease.slot]
        if isinstance(source, Copy):
            assert source.slot != lease.slot
            return self.kv[source.slot]
        if isinstance(source, Restore):
            state = self.ram[source.key] if source.key in self.ram else self.disk[source.key]
            assert len(state) == source.tokens <= CONTEXT // len(self.kv)
            return state
        return ()

    def everything(self) -> list[Tokens]:
        return [*self.kv, *self.ram.values(), *self.disk.values()]


# One token throughout, then another: most sequences begin alike and part somewhere.
sequences = st.sampled_from(
    sorted(
        {
            ((0,) * same + (1,) * other + (last,))[:LONGEST]
            for same in range(LONGEST)
            for other in range(LONGEST)
            for last in range(3)
        }
    )
)


class CacheMachine(RuleBasedStateMachine):
    """Sequences start, grow, end, fail; states are saved, spilled, lost."""

    @initialize(
        slots=st.integers(1, 4),
        budget=st.sampled_from([0, 150, 250, 500]),
        min_tokens=st.integers(1, 3),
        cuttable=st.booleans(),
    )
    def make(self, slots: int, budget: int, min_tokens: int, cuttable: bool) -> None:
        self.slots, self.budget, self.min_tokens = slots, budget, min_tokens
        self.cuttable = cuttable
        self.cache = PrefixCache(
            slots=slots,
            context_tokens=CONTEXT,
            budget_bytes=budget,
            min_tokens=min_tokens,
            cuttable=cuttable,
        )
        self.executor = NaiveExecutor(self.cache, slots)
        self.running: dict[int, tuple[int, Tokens]] = {}
        self.ids = 0
        self.now = 0.0

    @property
    def room(self) -> int:
        return CONTEXT // self.slots

    @precondition(lambda self: len(self.running) < self.slots)
    @rule(tokens=sequences, said=st.integers(0, 1))
    def serve(self, tokens: Tokens, said: int) -> None:
        """From start to end, as most sequences go."""
        self.start(tokens, fails=False)
        slot, tokens = self.running.pop(self.ids)
        self.now += 1
        self.executor.kv[slot] = (*tokens, said)[: self.room]
        self.cache.release(self.ids, self.executor.kv[slot], self.now)

    @precondition(lambda self: len(self.running) < self.slots)
    @rule(tokens=sequences, fails=st.booleans())
    def start(self, tokens: Tokens, fails: bool) -> None:
        tokens = tokens[: self.room]
        self.ids += 1
        self.now += 1
        expected = self.cache.match(tokens)
        held_before = self.executor.everything()
        lease = self.cache.acquire(self.ids, tokens, self.now)
        assert lease.slot not in {slot for slot, _ in self.running.values()}
        assert (lease.reused == 0) == (lease.source is None)
        assert lease.reused == expected < len(tokens)
        self._nothing_is_lost(lease, held_before, tokens[: lease.reused])
        self.executor.attach(tokens, lease, cuttable=self.cuttable)
        self.running[self.ids] = (lease.slot, tokens)
        if fails:
            self.executor.kv[lease.slot] = ()
            self._forget(self.cache.failed(self.ids))

    def _nothing_is_lost(self, lease: Lease, held_before: list[Tokens], beginning: Tokens) -> None:
        """What the lease displaces is held elsewhere, saved, or worth too little."""
        if self.budget == 0:
            return
        kv = self.executor.kv
        kept = [*held_before[len(kv) :], *(kv[save.slot] for save in lease.saves)]
        kept += [tokens for slot, tokens in enumerate(kv) if slot != lease.slot]
        displaced = kv[lease.slot]
        if self.cuttable:
            held = max(naive_common(displaced, each) for each in [*kept, beginning])
            assert len(displaced) - held < self.min_tokens
        else:
            assert len(displaced) < self.min_tokens or displaced in kept

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.executor.ram.pop(key, None)
            self.executor.disk.pop(key, None)

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.running)))
        slot, tokens = self.running[id]
        said = data.draw(st.lists(st.integers(0, 1), max_size=min(3, self.room - len(tokens))))
        known = (*tokens, *said)
        held = len(self.executor.kv[slot])
        computed = data.draw(st.integers(held, max(held, len(known))))
        if computed > held:
            self.executor.kv[slot] = self.executor.kv[slot] + known[held:computed]
        self.cache.grown(id, computed)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), wiped=st.booleans())
    def end(self, data: st.DataObject, wiped: bool) -> None:
        id = data.draw(st.sampled_from(sorted(self.running)))
        slot, _ = self.running.pop(id)
        self.now += 1
        if wiped:
            self.executor.kv[slot] = ()
        self.cache.release(id, self.executor.kv[slot], self.now)

    @rule()
    def back_up(self) -> None:
        kept = dict(self.executor.ram)
        save = self.cache.backup()
        if save is not None:
            self.executor.save([save])
            gone = {s for key, s in kept.items() if key not in self.executor.ram}
            still = self.executor.everything()
            assert all(any(naive_common(s, each) == len(s) for each in still) for s in gone)

    @rule(data=st.data())
    def spill(self, data: st.DataObject) -> None:
        spill = self.cache.spillable()
        if spill is None:
            return
        self.executor.disk[spill.key] = self.executor.ram[spill.key]
        assert unpack(spill.tokens) == self.executor.ram[spill.key]
        dropped = data.draw(st.sets(st.sampled_from(sorted(self.executor.disk)), max_size=2))
        for key in dropped:
            del self.executor.disk[key]
        for key in self.cache.spilled(spill, dropped):
            del self.executor.disk[key]

    @rule()
    def let_go(self) -> None:
        for key in self.cache.threefold():
            state = self.executor.ram.pop(key)
            assert state in self.executor.kv
            assert key in self.executor.disk

    @precondition(lambda self: self.executor.ram or self.executor.disk)
    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted({*self.executor.ram, *self.executor.disk})))
        self._forget([key])
        self.cache.lost(key)

    @precondition(lambda self: not self.running)
    @rule(slots=st.integers(1, 4))
    def make_the_context_anew(self, slots: int) -> None:
        self.executor.save(self.cache.clear_slots())
        self.cache.resize(slots)
        self.slots = slots
        self.executor.kv = [()] * slots

    @invariant()
    def keeps_its_budgets(self) -> None:
        if not hasattr(self, "cache"):
            return
        taken = sum(len(state) * BYTES_PER_TOKEN for state in self.executor.ram.values())
        assert self.cache.state_bytes == taken <= self.budget
        assert self.cache.resident_tokens == sum(map(len, self.executor.kv))

    @invariant()
    def matches_the_longest_beginning(self) -> None:
        if not hasattr(self, "cache"):
            return
        for tokens in [(0,) * LONGEST, (0, 0, 0, 1, 1), (1,) * 6, *self.executor.kv]:
            assert self.cache.match((*tokens, 0)) == self._naive_match((*tokens, 0))

    def _naive_match(self, tokens: Tokens) -> int:
        best = 0
        states = [*self.executor.ram.values(), *self.executor.disk.values()]
        room = max(self.room, len(tokens))
        for held in [*self._beginnings(), *(s for s in states if len(s) <= room)]:
            shared = min(naive_common(held, tokens), len(tokens) - 1)
            best = max(best, shared if self.cuttable or shared == len(held) else 0)
        return best if best >= self.min_tokens else 0

    def _beginnings(self) -> Iterator[Tokens]:
        """What the slots hold; what a running sequence has said counts when it has ended."""
        prompts = dict(self.running.values())
        for slot, held in enumerate(self.executor.kv):
            prompt = prompts.get(slot, held)
            if self.cuttable or len(held) <= len(prompt):
                yield held[: len(prompt)]


TestCacheMachine = CacheMachine.TestCase
