"""What one way to run a model costs on this machine: a few seconds of it, at several depths.

Depth comes cheaply. What attention costs depends on how many cells of the memory are in use, not
on what is in them: so a sequence is doubled by setting its saved state into a second one, with
the first one's positions moved up, and merging both (`llama_memory_seq_add`, `_seq_cp`). That
takes hundredths of a second where computing 4000 tokens takes half a minute.

Only sequences in one part of the memory can be merged: so one alone is measured in a memory that
two share, where it costs what it does in a slot of its own. Those beside others are measured in
slots, as they run.
"""

from __future__ import annotations

from contextlib import closing
from typing import Any, NamedTuple

import llama_cpp
import msgspec

from fallback.core.errors import EngineError
from fallback.local.worker.calibration_plan import Sample, Samples
from fallback.local.worker.llama.kv import Blob, KvMemory
from fallback.local.worker.llama.log import log
from fallback.local.worker.llama.parameters import context_parameters
from fallback.local.worker.llama.timed import Timed
from fallback.local.worker.tuning import Tuning

_FIRST_TOKENS = 32
_PREFILL_TOKENS = 512
_PREFILL_S = 2.5
_DEEP_PREFILL_TOKENS = 128
# What answers at once is measured as deep as it is where it matters, in long conversations: at a
# thousand tokens another choice may be the better one than at four thousand.
_DEEP = 4096
_MOST_COMPUTED = 1024
_MOST_STATE_BYTES = 512 * 1024 * 1024
# Behind the deepest sequence: what is read there, and a token that is written.
_ROOM = 256


class _Alone(NamedTuple):
    """What was measured of one sequence, and its state for each of those beside others."""

    prefill: tuple[Sample, ...]
    decode: tuple[Sample, ...]
    state: Blob
    depth: int


def measure(model: Any, tuning: Tuning, *, quiet_share: float) -> Samples:
    """All of it, in contexts as large as the worker's at most. `model` is llama.cpp's pointer.

    Raises `Disturbed`, and `EngineError` where such a context cannot be had."""
    alone = _measure_alone(model, tuning, quiet_share)
    crowd_depth, crowd_s = _measure_crowd(model, tuning, quiet_share, alone)
    return Samples(
        prefill=alone.prefill,
        decode=alone.decode,
        crowd=tuning.slots,
        crowd_depth=crowd_depth,
        crowd_s=crowd_s,
    )


def _measure_alone(model: Any, tuning: Tuning, quiet_share: float) -> _Alone:
    cells = min(tuning.context_tokens, _DEEP + _ROOM)
    shape = msgspec.structs.replace(tuning, slots=2, context_tokens=cells)
    parameters = context_parameters(shape, outputs=shape.slots)
    parameters.kv_unified = True
    most = cells - _DEEP_PREFILL_TOKENS - 1
    with closing(Timed(model, tuning, parameters, quiet_share=quiet_share)) as timed:
        prefill = [_first_prefill(timed, min(tuning.batch_tokens, cells // 4))]
        decode = [Sample(depth=timed.depth, seconds=timed.decode(1))]
        _deepen(timed, min(_DEEP, most), tuning.batch_tokens)
        timed.cut(min(timed.depth, max(1, tuning.context_tokens // tuning.slots - 1)))
        state, depth = KvMemory(timed.pointer, 1).take(0), timed.depth
        _deepen(timed, min(_DEEP, most), tuning.batch_tokens)
        if timed.depth >= 2 * decode[0].depth:
            decode.append(Sample(depth=timed.depth, seconds=timed.decode(1)))
            prefill.append(timed.prefill(min(_DEEP_PREFILL_TOKENS, int(decode[0].depth))))
    return _Alone(tuple(prefill), tuple(decode), state, depth)


def _measure_crowd(
    model: Any, tuning: Tuning, quiet_share: float, alone: _Alone
) -> tuple[int, float]:
    """Seconds of a step of all slots, and at which depth of each."""
    slots = tuning.slots
    parameters = context_parameters(tuning, outputs=slots)
    with closing(Timed(model, tuning, parameters, quiet_share=quiet_share)) as timed:
        memory = KvMemory(timed.pointer, slots)
        if all(memory.put(slot, alone.state) for slot in range(slots)):
            timed.depth = alone.depth
        else:  # some kinds of memory give states that fit nowhere else
            for slot in range(slots):
                memory.clear(slot)
            timed.fill(slots, min(_FIRST_TOKENS, alone.depth))
        return timed.depth, timed.decode(slots)


def _first_prefill(timed: Timed, most_tokens: int) -> Sample:
    """As many tokens as `_PREFILL_S` seconds allow, within one batch."""
    for _ in range(2):  # the first touches the weights, the second tells how fast it is
        token_s = timed.prefill(_FIRST_TOKENS).seconds
        timed.cut(0)
    tokens = min(_PREFILL_TOKENS, most_tokens)
    while tokens > _FIRST_TOKENS and tokens * token_s > _PREFILL_S:
        tokens //= 2
    return timed.prefill(tokens)


def _deepen(timed: Timed, depth: int, batch_tokens: int) -> None:
    """Double the first sequence up to `depth`: for nothing where the memory allows it, else by
    computing, no further than to `_MOST_COMPUTED`."""
    while 0 < 2 * timed.depth <= depth:
        if _can_double(timed):
            _double(timed)
        elif 2 * timed.depth <= _MOST_COMPUTED:
            timed.prefill(min(timed.depth, batch_tokens))
        else:
            return


def _can_double(timed: Timed) -> bool:
    size = KvMemory(timed.pointer, 1).state_bytes(0)
    return bool(llama_cpp.llama_memory_can_shift(timed.memory)) and size < _MOST_STATE_BYTES


def _double(timed: Timed) -> None:
    memory = KvMemory(timed.pointer, 1)
    state = memory.take(0)
    llama_cpp.llama_memory_seq_add(timed.memory, 0, -1, -1, timed.depth)
    if not memory.put(1, state):
        raise EngineError(f"llama.cpp takes no state of a sequence: {log.last_error()}")
    llama_cpp.llama_memory_seq_cp(timed.memory, 1, 0, -1, -1)
    memory.clear(1)
    timed.depth *= 2
