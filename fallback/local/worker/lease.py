"""What the prefix cache tells the executor to do, as facts. Pure.

The *executor* (`worker/llama/`, on the decode thread) carries a `Lease` out in this order, before
anything else happens in the context:

1. `for save in lease.saves`: check `llama_memory_seq_pos_max(save.slot) + 1 == save.tokens`,
   take the state (`llama_state_seq_get_data`), keep it under `save.key`, and call
   `cache.saved(save.key, len(blob))`; drop from RAM the blobs it names, which may be this one.
   If the check fails or no state comes, call `cache.lost(save.key)` instead.
2. `for slot in lease.wipes`: `llama_memory_seq_rm(slot, -1, -1)`. These are other slots than the
   lease's, whose cells a unified memory needs.
3. By `lease.source`, so that `lease.slot` holds what it names:
   - `None`: `seq_rm(lease.slot, -1, -1)`.
   - `Keep`: nothing; it lies there.
   - `Copy(slot)`: `seq_rm(lease.slot, -1, -1)`, then, unified: `seq_cp(slot, lease.slot, 0,
     reused)`, which costs no cells; split: the state of `slot`, got and set. Never `seq_cp` in a
     split memory: it aborts for a part, and for the whole it copies only with the next
     `llama_decode`, over what a restore has put there meanwhile.
   - `Restore(key)`: the blob from RAM, else from `SpillStore.read`; `seq_rm(lease.slot, -1, -1)`,
     then `llama_state_seq_set_data`, which gives 0 where it fails.
4. Cut: `llama_memory_seq_rm(lease.slot, reused, -1)` where it holds more; False is a failure.
5. Check: `seq_pos_max(lease.slot) + 1 == reused` and `seq_pos_min(lease.slot) <= 0`.
   `pos_min` is above 0 where a sliding window has let go of what the rest needs.

Whatever fails in 3 to 5: `seq_rm(lease.slot, -1, -1)`, then `cache.failed(id)`, which says which
blobs to forget; compute from token 0. A wrong state must never be computed on.

Positions are those of llama.h: the first token of a sequence is at 0.
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
    wipes: tuple[int, ...] = ()


class Spill(msgspec.Struct, frozen=True, kw_only=True):
    """A state that is, or could be, on disk: its key and its tokens, packed (`token_trie.pack`)."""

    key: str
    tokens: bytes
