"""The context's memory, slot by slot: what lies there can be cut, copied, taken out, put back.

A slot is a sequence id of llama.cpp's, with a stream (a part of the memory) of its own. Source of
the calls: `include/llama.h`, `llama_memory_*` and `llama_state_seq_*`. Measured on a 135M model:
23 KB a token, 3 ms to take out a thousand tokens, 4 ms to put them back.

A state names the number of streams of the context it was taken from, and llama.cpp refuses it in
another. What is taken out here names one, and is made to fit where it is put. The layout is that
of `llama_kv_cache::state_write` (llama.cpp, `src/llama-kv-cache.cpp`): magic, sequence, number of
streams; for each stream the number of its cells, and what is in them if there are any.
"""

from __future__ import annotations

import ctypes
from typing import Any, TypeAlias

import llama_cpp
import numpy as np
import numpy.typing as npt

Blob: TypeAlias = npt.NDArray[np.uint8]

_WORD = 4
_STREAMS_AT, _CELLS_AT = 2 * _WORD, 3 * _WORD


class KvMemory:
    """The memory of one context of so many streams. Belongs to the decode thread."""

    def __init__(self, context: Any, streams: int) -> None:
        self._context = context
        self._memory = llama_cpp.llama_get_memory(context)
        self._streams = streams

    def holds(self, slot: int, tokens: int) -> bool:
        """Whether exactly the first `tokens` of a sequence lie there, from its beginning on."""
        last = llama_cpp.llama_memory_seq_pos_max(self._memory, slot)
        # A sliding window lets go of what the rest needs.
        begins = llama_cpp.llama_memory_seq_pos_min(self._memory, slot) <= 0
        return bool(last + 1 == tokens and begins)

    def clear(self, slot: int) -> None:
        """Empty the slot."""
        llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)

    def cut(self, slot: int, tokens: int) -> bool:
        """Keep the first `tokens`; False where this model's memory cannot be cut there."""
        return bool(llama_cpp.llama_memory_seq_rm(self._memory, slot, tokens, -1))

    def copy(self, source: int, slot: int) -> bool:
        """Have in `slot` what lies in `source`, which stays there. `llama_memory_seq_cp` would do
        it with the next step only, over what was put there meanwhile."""
        return self.put(slot, self.take(source))

    def state_bytes(self, slot: int) -> int:
        """The size of the state of what lies there."""
        return int(llama_cpp.llama_state_seq_get_size(self._context, slot))

    def take(self, slot: int) -> Blob:
        """The state of what lies in the slot, which stays there. Shape (bytes,), maybe empty."""
        blob = np.empty(self.state_bytes(slot), dtype=np.uint8)
        written = llama_cpp.llama_state_seq_get_data(self._context, _pointer(blob), len(blob), slot)
        return _with_one_stream(blob[:written])

    def put(self, slot: int, blob: Blob) -> bool:
        """Have in the slot what was taken; False if that cannot be."""
        self.clear(slot)
        fitting = _with_streams(blob, self._streams)
        return bool(
            llama_cpp.llama_state_seq_set_data(self._context, _pointer(fitting), len(fitting), slot)
        )


def _with_one_stream(blob: Blob) -> Blob:
    """The same state, as a context of one stream would give it; empty if it holds nothing. The
    bytes stay where they are, and the head is written anew before them."""
    if len(blob) <= _CELLS_AT:
        return blob[:0]
    streams = int(blob[_STREAMS_AT:_CELLS_AT].view(np.uint32)[0])
    filled = blob[_CELLS_AT : _CELLS_AT + streams * _WORD].view(np.uint32).nonzero()[0]
    if not len(filled):
        return blob[:0]
    before = int(filled[0])
    begin, end = _CELLS_AT + before * _WORD, len(blob) - (streams - 1 - before) * _WORD
    head = np.concatenate([blob[:_STREAMS_AT], _words(1)])
    blob[begin - _CELLS_AT : begin] = head
    return blob[begin - _CELLS_AT : end]


def _with_streams(blob: Blob, streams: int) -> Blob:
    """The same state for a context of so many streams: all but the first are empty."""
    if streams == 1:
        return blob
    rest = _words(*[0] * (streams - 1))
    return np.concatenate([blob[:_STREAMS_AT], _words(streams), blob[_CELLS_AT:], rest])


def _words(*words: int) -> Blob:
    return np.array(words, dtype=np.uint32).view(np.uint8)


def _pointer(blob: Blob) -> Any:
    return blob.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
