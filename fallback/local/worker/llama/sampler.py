"""Choosing a token out of logits with llama.cpp's own samplers."""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt

from fallback.local.worker.sampling import PENALTY_TOKENS, SamplerSettings

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_RANDOM_SEED = 0xFFFFFFFF
_COLUMNS = 1024


class Candidates:
    """The vocabulary with its logits, as the samplers take it. Shape (vocabulary size,)."""

    def __init__(self, size: int) -> None:
        self._ids = np.arange(size, dtype=np.int32)
        self._held: npt.NDArray[np.float32] = np.zeros(size, dtype=np.float32)
        self._logits = self._held
        self._row: type[ctypes.Array[ctypes.c_float]] = ctypes.c_float * size
        self._array = np.zeros(size, dtype=_CANDIDATE)
        self._data = self._array.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        self._native: Any = llama_cpp.llama_token_data_array()

    def load(self, logits: Any) -> None:
        """Take the logits llama.cpp holds (a pointer, valid until the next step)."""
        row = self._row.from_address(ctypes.addressof(logits.contents))
        self._held = np.frombuffer(memoryview(row), dtype=np.float32)
        self.reload()

    def reload(self) -> None:
        """Back to the logits as loaded."""
        self._logits = self._held

    def bias(self, tokens: npt.NDArray[np.intp], logits: float) -> None:
        """Add to the logits of these tokens."""
        if logits:
            self._own()[tokens] += logits

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        """Leave only the tokens of the mask."""
        self._own()[~mask[: len(self._ids)]] = -np.inf

    def draw(self, chain: Any, *, argmax: bool, among: int | None = None) -> int:
        """Sample one token; the chain does not yet count it as said. With `argmax` the most
        likely one, which is what a greedy chain without penalties would draw. `among`: the chain
        draws one of so many of the most likely, whatever the others are."""
        if argmax:
            return int(self._logits.argmax())
        ids = self._ids if among is None else self._likeliest(among)
        count = len(ids)
        self._array["id"][:count] = ids
        self._array["logit"][:count] = self._logits if ids is self._ids else self._logits[ids]
        native = self._native
        native.data = self._data
        native.size = count
        native.selected = -1
        native.sorted = False
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(native))
        return int(native.data[native.selected].id)

    def _likeliest(self, count: int) -> npt.NDArray[np.intp]:
        """At least the `count` most likely tokens, and hardly more; all, if those are many.

        The greatest of each column of the logits are candidates for them: the `count`-th of
        these is a bound that at least so many tokens reach.
        """
        if not count <= _COLUMNS <= len(self._ids):
            return self._ids.astype(np.intp)
        rows = len(self._ids) // _COLUMNS
        greatest = self._logits[: rows * _COLUMNS].reshape(rows, _COLUMNS).max(axis=0)
        bound = np.partition(greatest, -count)[-count]
        return np.flatnonzero(self._logits >= bound)

    def _own(self) -> npt.NDArray[np.float32]:
        """The logits, as a copy that may be changed."""
        if self._logits is self._held:
            self._logits = self._held.copy()
        return self._logits


def sampler_chain(settings: SamplerSettings, vocabulary_size: int) -> Any:
    """llama.cpp's chain for these numbers; to be freed."""
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in _samplers(settings, vocabulary_size):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(settings: SamplerSettings, vocabulary_size: int) -> Iterable[Any]:
    yield llama_cpp.llama_sampler_init_penalties(
        vocabulary_size,
        PENALTY_TOKENS,
        settings.repeat_penalty,
        settings.frequency_penalty,
        settings.presence_penalty,
    )
    if settings.temperature == 0:
        yield llama_cpp.llama_sampler_init_greedy()
        return
    yield llama_cpp.llama_sampler_init_top_k(settings.top_k)
    yield llama_cpp.llama_sampler_init_top_p(settings.top_p, 1)
    yield llama_cpp.llama_sampler_init_min_p(settings.min_p, 1)
    yield llama_cpp.llama_sampler_init_temp(settings.temperature)
    seed = _RANDOM_SEED if settings.seed is None else settings.seed
    yield llama_cpp.llama_sampler_init_dist(seed)
