"""What the local engine is told: which model, how much of the machine, how patiently."""

from __future__ import annotations

from typing import Literal

import msgspec


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the worker and of those who watch it. Sizes in tokens, times in seconds.

    `model_sha256` None means "whatever the file is": it is still hashed, for the provenance.
    `quantization` None takes the one the file states. `cache_dir` keeps what was verified and
    measured, so that a warm start need not do it again.

    How the machine is used, where 0, None, -1 and "auto" leave the choice to what was measured
    here, or else to `tuning.py`: `context_tokens` is split between the requests that run, up to
    `slots` of them; a single one may have `request_tokens` of it (0: half, so that at least two
    can always run side by side). `threads` 0 is one for each physical core. `ubatch_tokens` is
    what llama.cpp computes at once. `gpu_layers` are put on a GPU, -1: as many
    as it holds. Model, context and buffers together may take `memory_mb` (0: four fifths of what
    is free). `calibrate` lets the machine be measured when nobody needs it, and what was found be
    used; `requantize` a faster quantization of the model be made for that.

    A step computes up to `batch_tokens` tokens, and up to `mixed_batch_tokens` while someone is
    being answered, so that a long prompt does not hold up the answers beside it. `queue_limit`
    requests may wait for a slot.

    `drafts`: the text at hand is guessed to be repeated, and several tokens checked at once.
    States of sequences take up to `prefix_cache_bytes` of RAM beside the context, and
    `spill_bytes` in `cache_dir`, so that a restart need not compute them again; 0 keeps none.

    The worker is given up when `heartbeat_misses` pings, `heartbeat_s` apart, find no answer,
    or when it has work and makes no progress for `stall_s`. After `idle_unload_s` without work
    (0: never) it is ended until someone asks.
    """

    model_path: str
    model_name: str
    model_sha256: str | None = None
    quantization: str | None = None
    cache_dir: str | None = None
    context_tokens: int = 8192
    request_tokens: int = 0
    slots: int = 4
    threads: int = 0
    batch_tokens: int = 512
    mixed_batch_tokens: int = 128
    ubatch_tokens: int = 0
    flash_attention: bool | None = None
    kv_type: Literal["auto", "f16", "q8_0"] = "auto"
    gpu_layers: int = -1
    memory_mb: int = 0
    calibrate: Literal["auto", "off"] = "off"
    requantize: Literal["auto", "off"] = "off"
    queue_limit: int = 32
    drafts: bool = True
    prefix_cache_bytes: int = 256 * 2**20
    spill_bytes: int = 1024 * 2**20
    heartbeat_s: float = 2.0
    heartbeat_misses: int = 5
    stall_s: float = 120.0
    load_timeout_s: float = 300.0
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 2.0
    idle_unload_s: float = 0.0
