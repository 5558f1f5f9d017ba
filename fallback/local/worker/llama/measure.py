"""What one way to run a model costs on this machine: a few seconds of it, at several depths.

Depth comes cheaply. What attention costs depends on how many cells of the memory are in use, not
on what is in them: so a sequence is doubled by setting its saved state into a second one, with
the first one's positions moved up, and merging both (`llama_memory_seq_add`, `_seq_cp`). That
takes hundredths of a second where computing 4000 tokens takes half a minute.

A measurement during which another process took the cores says nothing. So each step is timed by
the clock and by the processor time of this process: where the latter falls short, the step is
not counted (llama.cpp's threads spin while they wait for each other, so that undisturbed they
use 0.9 and more of what they could).
"""

from __future__ import annotations

import ctypes
import time
from typing import Any

import llama_cpp
import numpy as np

from fallback.core.errors import EngineError
from fallback.local.worker.calibration_plan import Sample, Samples
from fallback.local.worker.llama.batch import Batch
from fallback.local.worker.llama.log import log
from fallback.local.worker.llama.parameters import context_parameters
from fallback.local.worker.tuning import Tuning

_FIRST_TOKENS = 32
_PREFILL_TOKENS = 512
_PREFILL_S = 2.5
_DEEP_PREFILL_TOKENS = 128
_CROWD_DEPTH = 1024
_DEEP = 4096
_STEPS = 16
_LEAST_STEPS = 5
_DECODE_S = 0.6
_TRIES = 3
_MOST_STATE_BYTES = 512 * 1024 * 1024


class Disturbed(Exception):
    """Something else uses the machine: what is measured now would not be true tomorrow."""


class Probe:
    """A context like the worker's, to be timed. Must be closed.

    `quiet_share` is the part of its threads' time that this process must have had for a step to
    count; 0 counts all, as where a GPU computes.
    """

    def __init__(self, model: Any, tuning: Tuning, *, quiet_share: float) -> None:
        """Reserve the memory. Raises `EngineError` if llama.cpp cannot."""
        self._tuning = tuning
        self._quiet_share = quiet_share
        parameters = context_parameters(tuning, outputs=tuning.slots)
        if tuning.choice.kv_unified:
            parameters.n_seq_max = max(2, tuning.slots)  # doubling takes a second sequence
        self._context = llama_cpp.llama_init_from_model(model, parameters)
        if not self._context:
            raise EngineError(f"llama.cpp cannot make this context: {log.last_error()}")
        self._memory = llama_cpp.llama_get_memory(self._context)
        self._batch = Batch(tuning.batch_tokens)
        vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        self._tokens = np.random.default_rng(1).integers(vocabulary // 8, vocabulary // 2, 4096)
        self._depth = 0

    def close(self) -> None:
        """Free it all."""
        llama_cpp.llama_free(self._context)

    def measure(self) -> Samples:
        """All of it. Raises `Disturbed`, `EngineError`."""
        prefill = [self._first_prefill()]
        decode = [Sample(depth=self._depth, seconds=self._decode(1))]
        self._deepen(_CROWD_DEPTH)
        crowd_depth, crowd_s = self._crowd()
        self._deepen(_DEEP)
        if self._depth >= 2 * decode[0].depth:
            decode.append(Sample(depth=self._depth, seconds=self._decode(1)))
            prefill.append(self._timed_prefill(min(_DEEP_PREFILL_TOKENS, int(decode[0].depth))))
        return Samples(
            prefill=tuple(prefill),
            decode=tuple(decode),
            crowd=self._tuning.slots,
            crowd_depth=crowd_depth,
            crowd_s=crowd_s,
        )

    def _first_prefill(self) -> Sample:
        """As many tokens as `_PREFILL_S` seconds allow, within one batch."""
        for _ in range(2):  # the first touches the weights, the second tells how fast it is
            token_s = self._timed_prefill(_FIRST_TOKENS).seconds
            self._cut(0)
        tokens = min(_PREFILL_TOKENS, self._tuning.batch_tokens, self._tuning.sequence_tokens // 4)
        while tokens > _FIRST_TOKENS and tokens * token_s > _PREFILL_S:
            tokens //= 2
        return self._timed_prefill(tokens)

    def _timed_prefill(self, tokens: int) -> Sample:
        """Append so many tokens: seconds for each of them, undisturbed."""
        depth = self._depth
        part = [int(token) for token in self._tokens[:tokens]]
        for _ in range(_TRIES):
            self._cut(depth)
            took_s, quiet = self._step([(part, depth, 0)])
            if quiet:
                self._depth = depth + tokens
                return Sample(depth=depth + tokens / 2, seconds=took_s / tokens)
        raise Disturbed

    def _decode(self, streams: int) -> float:
        """Median seconds of a step that gives each of the first `streams` sequences a token."""
        self._step(self._one_each(streams))  # the first builds its graph
        seconds: list[float] = []
        until = time.perf_counter() + _DECODE_S
        for done in range(_TRIES * _STEPS):
            took_s, quiet = self._step(self._one_each(streams))
            seconds += [took_s] if quiet else []
            late = time.perf_counter() > until and done >= _LEAST_STEPS
            if len(seconds) >= (_LEAST_STEPS if late else _STEPS):
                break
        for slot in range(streams):
            llama_cpp.llama_memory_seq_rm(self._memory, slot, self._depth, -1)
        if len(seconds) < _LEAST_STEPS:
            raise Disturbed
        return float(np.median(seconds))

    def _one_each(self, streams: int) -> list[tuple[list[int], int, int]]:
        """Each writes its token at the same place as the step before: that one is taken back."""
        for slot in range(streams):
            llama_cpp.llama_memory_seq_rm(self._memory, slot, self._depth, -1)
        token = int(self._tokens[self._depth % len(self._tokens)])
        return [([token], self._depth, slot) for slot in range(streams)]

    def _crowd(self) -> tuple[int, float]:
        """Seconds of a step of all slots, and at which depth of each; the first alone is left."""
        slots = self._tuning.slots
        if slots * (self._depth + 1) > self._tuning.context_tokens:
            self._cut(self._tuning.context_tokens // slots - 1)
        state = self._state()
        for slot in range(1, slots):
            self._put(slot, state)
        took_s = self._decode(slots)
        for slot in range(1, slots):
            llama_cpp.llama_memory_seq_rm(self._memory, slot, -1, -1)
        return self._depth, took_s

    def _deepen(self, depth: int) -> None:
        """Double the first sequence while it is shorter and there is room: for nothing where the
        memory allows it, else by computing, no further than to `_CROWD_DEPTH`."""
        depth = min(depth, self._tuning.sequence_tokens - _DEEP_PREFILL_TOKENS - 1)
        while 2 * self._depth <= depth and self._depth:
            if self._can_double():
                self._double()
            elif 2 * self._depth <= _CROWD_DEPTH:
                self._timed_prefill(min(self._depth, self._tuning.batch_tokens))
            else:
                return

    def _can_double(self) -> bool:
        return (
            self._tuning.choice.kv_unified
            and llama_cpp.llama_memory_can_shift(self._memory)
            and llama_cpp.llama_state_seq_get_size(self._context, 0) < _MOST_STATE_BYTES
        )

    def _double(self) -> None:
        state = self._state()
        llama_cpp.llama_memory_seq_add(self._memory, 0, -1, -1, self._depth)
        self._put(1, state)
        llama_cpp.llama_memory_seq_cp(self._memory, 1, 0, -1, -1)
        llama_cpp.llama_memory_seq_rm(self._memory, 1, -1, -1)
        self._depth *= 2

    def _state(self) -> ctypes.Array[ctypes.c_uint8]:
        size = llama_cpp.llama_state_seq_get_size(self._context, 0)
        state: ctypes.Array[ctypes.c_uint8] = (ctypes.c_uint8 * size)()
        if llama_cpp.llama_state_seq_get_data(self._context, state, size, 0) != size:
            raise EngineError("llama.cpp gives no state of a sequence")
        return state

    def _put(self, slot: int, state: ctypes.Array[ctypes.c_uint8]) -> None:
        if not llama_cpp.llama_state_seq_set_data(self._context, state, len(state), slot):
            raise EngineError(f"llama.cpp takes no state of a sequence: {log.last_error()}")

    def _cut(self, depth: int) -> None:
        llama_cpp.llama_memory_seq_rm(self._memory, 0, depth, -1)
        self._depth = depth

    def _step(self, parts: list[tuple[list[int], int, int]]) -> tuple[float, bool]:
        """Compute; seconds, and whether this process had the cores to itself."""
        self._batch.clear()
        for tokens, position, slot in parts:
            self._batch.add(tokens, position, slot, outputs=1)
        worked_s, began_s = time.process_time(), time.perf_counter()
        status = llama_cpp.llama_decode(self._context, self._batch.native())
        llama_cpp.llama_synchronize(self._context)
        took_s = time.perf_counter() - began_s
        if status != 0:
            raise EngineError(f"llama_decode gave {status}: {log.last_error()}")
        choice = self._tuning.choice
        batched = len(parts) > 1 or len(parts[0][0]) > 1
        threads = choice.threads_batch if batched else choice.threads
        share = (time.process_time() - worked_s) / (took_s * threads)
        return took_s, share >= self._quiet_share
