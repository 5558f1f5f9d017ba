"""A context whose steps are timed, and known to have been undisturbed.

A step during which another process took the cores says nothing. So each is timed by the clock and
by the processor time of this process: where the latter falls short, the step is not counted
(llama.cpp's threads spin while they wait for each other, so that undisturbed they use 0.9 and more
of what they could).
"""

from __future__ import annotations

import time
from typing import Any

import llama_cpp
import numpy as np

from fallback.core.errors import EngineError
from fallback.local.worker.calibration_plan import Sample
from fallback.local.worker.llama.batch import Batch
from fallback.local.worker.llama.log import log
from fallback.local.worker.tuning import Tuning

_STEPS = 16
_LEAST_STEPS = 5
_DECODE_S = 0.6
_TRIES = 3
_TOKENS = 4096


class Disturbed(Exception):
    """Something else uses the machine: what is measured now would not be true tomorrow."""


class Timed:
    """A context in which all sequences are equally deep: `depth` tokens. Must be closed.

    `quiet_share` is the part of its threads' time that this process must have had for a step to
    count; 0 counts all, as where a GPU computes.
    """

    def __init__(self, model: Any, tuning: Tuning, parameters: Any, *, quiet_share: float) -> None:
        """Reserve the memory. Raises `EngineError` if llama.cpp cannot."""
        self._choice = tuning.choice
        self._quiet_share = quiet_share
        self.pointer = llama_cpp.llama_init_from_model(model, parameters)
        if not self.pointer:
            raise EngineError(f"llama.cpp cannot make this context: {log.last_error()}")
        self.memory = llama_cpp.llama_get_memory(self.pointer)
        self._batch = Batch(tuning.batch_tokens)
        vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._tokens = np.random.default_rng(1).integers(vocabulary // 8, vocabulary // 2, _TOKENS)
        self.depth = 0

    def __repr__(self) -> str:
        return f"<Timed depth={self.depth} choice={self._choice}>"

    def close(self) -> None:
        """Free it all."""
        llama_cpp.llama_free(self.pointer)

    def cut(self, depth: int) -> None:
        """Keep so many tokens of the first sequence."""
        llama_cpp.llama_memory_seq_rm(self.memory, 0, depth, -1)
        self.depth = depth

    def prefill(self, tokens: int) -> Sample:
        """Append so many to the first sequence: seconds for each. Raises `Disturbed`."""
        depth = self.depth
        for _ in range(_TRIES):
            self.cut(depth)
            took_s, quiet = self._step([(self._part(tokens), depth, 0)])
            if quiet:
                self.depth = depth + tokens
                return Sample(depth=depth + tokens / 2, seconds=took_s / tokens)
        raise Disturbed

    def fill(self, slots: int, tokens: int) -> None:
        """Have so many tokens in each of the empty first `slots`, whatever time it takes."""
        for slot in range(slots):
            self._step([(self._part(tokens), 0, slot)])
        self.depth = tokens

    def decode(self, slots: int) -> float:
        """Median seconds of a step that gives each of the first `slots` a token, which are taken
        back. Raises `Disturbed`."""
        self._step(self._one_each(slots))  # the first builds its graph
        seconds: list[float] = []
        until = time.perf_counter() + _DECODE_S
        for done in range(_TRIES * _STEPS):
            took_s, quiet = self._step(self._one_each(slots))
            seconds += [took_s] if quiet else []
            late = time.perf_counter() > until and done >= _LEAST_STEPS
            if len(seconds) >= (_LEAST_STEPS if late else _STEPS):
                break
        self._take_back(slots)
        if len(seconds) < _LEAST_STEPS:
            raise Disturbed
        return float(np.median(seconds))

    def _one_each(self, slots: int) -> list[tuple[list[int], int, int]]:
        """Each writes its token at the same place as the step before."""
        self._take_back(slots)
        token = int(self._tokens[self.depth % len(self._tokens)])
        return [([token], self.depth, slot) for slot in range(slots)]

    def _take_back(self, slots: int) -> None:
        for slot in range(slots):
            llama_cpp.llama_memory_seq_rm(self.memory, slot, self.depth, -1)

    def _part(self, tokens: int) -> list[int]:
        return [int(token) for token in self._tokens[:tokens]]

    def _step(self, parts: list[tuple[list[int], int, int]]) -> tuple[float, bool]:
        """Compute; seconds, and whether this process had the cores to itself."""
        self._batch.clear()
        for tokens, position, slot in parts:
            self._batch.add(tokens, position, slot, outputs=1)
        worked_s, began_s = time.process_time(), time.perf_counter()
        status = llama_cpp.llama_decode(self.pointer, self._batch.native())
        llama_cpp.llama_synchronize(self.pointer)
        took_s = time.perf_counter() - began_s
        if status != 0:
            raise EngineError(f"llama_decode gave {status}: {log.last_error()}")
        batched = len(parts) > 1 or len(parts[0][0]) > 1
        threads = self._choice.threads_batch if batched else self._choice.threads
        share = (time.process_time() - worked_s) / (took_s * threads)
        return took_s, share >= self._quiet_share
