"""What the prefix cache tells the executor to do, as facts. Pure.

The *executor* (`residence.Residence`, on the decode thread) carries a `Lease` out in this order,
before anything else happens in the context:

1. `for save in lease.saves`: check that the slot holds `save.tokens` tokens, take its state, keep
   it under `save.key`, and call `cache.saved(save.key, size)`; drop from RAM the states it names,
   which may be this one. If the check fails or no state comes, `cache.lost(save.key)` instead.
2. By `lease.source`, so that `lease.slot` holds what it names: `None`: clear the slot. `Keep`:
   nothing, it lies there. `Copy`: the state of the other slot, which may be running, taken and
   put. Not `llama_memory_seq_cp`: between the streams of a split memory it aborts for a part, and
   for the whole it copies only with the next `llama_decode`, over what a restore has put there
   meanwhile. `Restore`: the state from RAM, else from disk, put into the slot.
3. Cut the slot to `lease.reused` tokens.
4. Check: it holds exactly these, from position 0 on. A sliding window may have let go of what
   the rest needs.

Whatever fails in 2 to 4: clear the slot, then `cache.failed(id)`, which says which states to
forget, and compute from token 0. A wrong state must never be computed on.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec


class Keep(msgspec.Struct, frozen=True):
    """The leased slot itself holds the beginning."""


class Copy(msgspec.Struct, frozen=True):
    """Another slot holds it; that one may be running, and stays as it is."""

    slot: int


class Restore(msgspec.Struct, frozen=True):
    """A saved state holds it, with `tokens` tokens in all."""

    key: str
    tokens: int


Source: TypeAlias = Keep | Copy | Restore


class Save(msgspec.Struct, frozen=True, kw_only=True):
    """Keep the state of the `tokens` tokens in `slot` under `key`."""

    key: str
    slot: int
    tokens: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A slot for a sequence, and how to bring its first `reused` tokens there.

    `reused` is 0 exactly where `source` is None, and less than the sequence has: something must
    be computed to sample from.
    """

    slot: int
    reused: int
    source: Source | None
    saves: tuple[Save, ...] = ()


class Spill(msgspec.Struct, frozen=True, kw_only=True):
    """A state that is, or could be, on disk: its key and its tokens, packed (`token_trie.pack`)."""

    key: str
    tokens: bytes
