"""The tokens of one step, as llama.cpp takes them."""

from __future__ import annotations

import ctypes
from typing import Any

import llama_cpp
import numpy as np


class Batch:
    """A `llama_batch` over arrays of NumPy's, each of `size` tokens."""

    def __init__(self, size: int) -> None:
        self._token = np.zeros(size, dtype=np.int32)
        self._position = np.zeros(size, dtype=np.int32)
        self._sequence_count = np.ones(size, dtype=np.int32)
        self._sequence = np.zeros(size, dtype=np.int32)
        self._logits = np.zeros(size, dtype=np.int8)
        # llama.cpp wants a pointer to each token's sequence ids: here, to its one cell.
        first = self._sequence.ctypes.data
        self._pointers = first + np.arange(size, dtype=np.uintp) * self._sequence.itemsize
        self._count = 0
        int32 = ctypes.POINTER(ctypes.c_int32)
        self._native: Any = llama_cpp.llama_batch(
            n_tokens=0,
            token=self._token.ctypes.data_as(int32),
            embd=None,
            pos=self._position.ctypes.data_as(int32),
            n_seq_id=self._sequence_count.ctypes.data_as(int32),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(int32)),
            logits=self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )

    def clear(self) -> None:
        self._count = 0

    def add(self, tokens: list[int], position: int, slot: int, *, outputs: int) -> int:
        """Append tokens of one sequence, with logits for the last `outputs` of them; returns the
        index of the first of these, or of the last token if there are none."""
        begin, end = self._count, self._count + len(tokens)
        self._token[begin:end] = tokens
        self._position[begin:end] = range(position, position + len(tokens))
        self._sequence[begin:end] = slot
        self._logits[begin:end] = 0
        self._logits[end - outputs : end] = 1
        self._count = end
        return end - max(1, outputs)

    def native(self) -> Any:
        """The struct; it points into this object."""
        self._native.n_tokens = self._count
        return self._native
