"""Where the beginnings of sequences lie that the model has computed, so that none is computed
twice. Pure: an index of tokens, without tensors and without a clock.

Rules of this file:
- A slot is *running* (leased to a sequence), or idle: then it still holds the sequence that ran
  there last, its *resident*. Other sequences' states are saved outside (`saved_states.py`).
- Nothing worth `min_tokens` is displaced without a `Save`, as long as there is a budget at all;
  who is displaced `placement.py` decides.
- A memory that cannot be cut (`cuttable` False: `llama_model_is_recurrent`, `_is_hybrid`; or a
  sliding window whose context was not made with `swa_full`) has a state only for where it
  stands: then only what is held whole is a beginning, and a resident is saved before it goes on.

`lease.py` says how a lease is carried out. The order of calls:

    lease = cache.acquire(id, tokens, now)   # carry it out: saved or lost, and failed
    cache.grown(id, computed)                # after each step, what the slot holds
    cache.release(id, tokens, now)           # exactly the tokens the slot holds
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fallback.local.worker.lease import Lease, Restore, Save, Spill
from fallback.local.worker.placement import Option, Placement, Slot
from fallback.local.worker.saved_states import SavedStates, key_of
from fallback.local.worker.token_trie import pack


class PrefixCache:
    """The slots of one context, which have equal parts of its `context_tokens`, and the states
    beside it.

    `budget_bytes` bounds the saved states in RAM; 0 saves none. A beginning of fewer than
    `min_tokens` is not worth keeping.

    Only `match` may be called from any thread, all else from the one that decodes.
    """

    def __init__(
        self,
        *,
        slots: int,
        context_tokens: int,
        budget_bytes: int,
        min_tokens: int = 32,
        cuttable: bool = True,
    ) -> None:
        self._context_tokens = context_tokens
        self._min_tokens = max(1, min_tokens)
        self._cuttable = cuttable
        self._states = SavedStates(budget_bytes=budget_bytes, cuttable=cuttable)
        self._running: dict[int, Slot] = {}
        self._lay_out(slots)
        self._saving: dict[str, bytes] = {}
        self._modest = False
        self._restoring: dict[int, str] = {}

    def __repr__(self) -> str:
        return (
            f"<PrefixCache running={len(self._running)}/{len(self._slots)}"
            f" resident_tokens={self.resident_tokens} {self._states!r}>"
        )

    @property
    def state_bytes(self) -> int:
        """What the saved states take in RAM."""
        return self._states.ram_bytes

    @property
    def resident_tokens(self) -> int:
        """How many tokens the slots hold."""
        return sum(slot.computed for slot in self._slots)

    def match(self, tokens: Sequence[int]) -> int:
        """How many of the first tokens need not be computed, as things are: a hint for who plans.
        At most one less than there are. Takes well under a millisecond for 12,000 tokens."""
        return self._placement.find(pack(tokens)).tokens

    def acquire(self, id: int, tokens: Sequence[int], now: float) -> Lease:
        """A slot for a sequence that starts or goes on, by all its tokens known so far. Saves of
        an earlier lease that were not answered count as lost.

        Raises `ValueError` when it has a slot already or there is none: the scheduler admits no
        more than there are.
        """
        if id in self._running:
            raise ValueError(f"the sequence {id} has a slot already")
        packed = pack(tokens)
        option = self._placement.best(packed)
        if option is None:
            raise ValueError(f"no slot is free: {self!r}")
        return self._take(id, packed, now, option)

    def grown(self, id: int, computed: int) -> None:
        """The slot of a running sequence holds so many of its tokens now."""
        self._running[id].computed = computed
        self._restoring.pop(id, None)

    def release(self, id: int, tokens: Sequence[int], now: float) -> None:
        """A sequence has ended or is preempted. `tokens`: exactly what its slot holds, so not the
        last one sampled, and no draft that was refused; empty if the slot was wiped."""
        slot = self._running.pop(id)
        self._restoring.pop(id, None)
        slot.id = None
        slot.hold(pack(tokens), len(tokens), used_at=now)

    def saved(self, key: str, size: int) -> tuple[str, ...]:
        """A `Save` is done and took `size` bytes. Returns the keys of the states to drop from RAM;
        it may be this one. Raises `KeyError` if nobody asked for it."""
        return self._states.add(key, self._saving.pop(key), size, modest=self._modest)

    def lost(self, key: str) -> None:
        """A state could not be made or is not to be had any more."""
        self._saving.pop(key, None)
        self._states.forget(key)

    def failed(self, id: int) -> tuple[str, ...]:
        """The beginning could not be brought into the slot, which is empty now: the sequence is
        computed from its start. Returns the keys of states that are no good: to be dropped from
        RAM and from disk."""
        self._running[id].computed = 0
        key = self._restoring.pop(id, None)
        if key is None:
            return ()
        self._states.forget(key)
        return (key,)

    def clear_slots(self) -> tuple[Save, ...]:
        """The context goes away: carry out these saves first. Raises `ValueError` while a sequence
        is running: release it before."""
        if self._running:
            raise ValueError(f"sequences are running: {self!r}")
        self._states.use(None)
        # Where there is not room for all, the last used are to stay.
        saves = tuple(self._placement.saves(sorted(self._slots, key=lambda slot: slot.used_at)))
        self._ask(saves)
        for slot in self._slots:
            slot.empty()
        return saves

    def resize(self, slots: int) -> None:
        """There is another context, of so many slots, all empty. Raises `ValueError` before
        `clear_slots`."""
        if any(slot.computed or slot.id is not None for slot in self._slots):
            raise ValueError(f"the slots are not clear: {self!r}")
        self._lay_out(slots)

    def backup(self) -> Save | None:
        """A resident to save while nobody waits, so that it can be written to disk: one that is
        not held outside the context and pushes nothing out. Each is asked for once."""
        self._states.use(None)
        idle = [slot for slot in self._slots if slot.id is None and not slot.backed_up]
        everywhere = {slot.number for slot in self._slots}
        for slot in sorted(idle, key=lambda slot: slot.used_at, reverse=True):
            saves = tuple(self._placement.saves((slot,), gone=everywhere))
            if saves and self._states.has_room(slot.computed):
                slot.backed_up = True
                self._ask(saves, modest=True)
                return saves[0]
        return None

    def spillable(self) -> Spill | None:
        """A state in RAM to write to disk; None when all are there. Each is offered once."""
        return self._states.next_spill()

    def spilled(self, spill: Spill, dropped: Iterable[str] = ()) -> tuple[str, ...]:
        """A state was written to disk, and those of the keys `dropped` were deleted there to make
        room. Returns the keys of those that the disk need not keep any more."""
        return self._states.spilled(spill, dropped)

    def threefold(self) -> tuple[str, ...]:
        """The keys of the states to drop from RAM: they lie in an idle slot and on disk too."""
        keys = [key_of(slot.tokens) for slot in self._slots if slot.id is None]
        return tuple(key for key in keys if self._states.let_go(key))

    def adopt(self, spills: Iterable[Spill]) -> None:
        """These states are on disk, from an earlier run."""
        self._states.adopt(spills)

    def _lay_out(self, slots: int) -> None:
        self._slots = tuple(Slot(number) for number in range(slots))
        self._placement = Placement(
            self._slots,
            self._states,
            slot_tokens=self._context_tokens // slots,
            min_tokens=self._min_tokens,
            cuttable=self._cuttable,
        )

    def _take(self, id: int, tokens: bytes, now: float, option: Option) -> Lease:
        self._ask(option.saves)
        slot, source = option.slot, option.source
        restored = source.key if isinstance(source, Restore) else None
        self._states.use(restored)
        if restored is not None:
            self._restoring[id] = restored
        slot.id = id
        slot.hold(tokens, option.reused, used_at=now)
        self._running[id] = slot
        return Lease(slot=slot.number, reused=option.reused, source=source, saves=option.saves)

    def _ask(self, saves: Iterable[Save], *, modest: bool = False) -> None:
        self._saving = {save.key: self._slots[save.slot].tokens for save in saves}
        self._modest = modest
