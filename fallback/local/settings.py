"""What the local engine is told: which model, how much of the machine, how patiently."""

from __future__ import annotations

import msgspec


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the worker and of those who watch it. Sizes in tokens, times in seconds.

    `model_sha256` None means "whatever the file is": it is still hashed, for the provenance.
    `quantization` None takes the one the file states. `context_tokens` is shared by all `slots`.
    `threads` 0 is one for each physical core. A step computes up to `batch_tokens` tokens, and
    up to `mixed_batch_tokens` while someone is being answered, so that a long prompt does not
    hold up the answers beside it. `queue_limit` requests may wait for a slot. `cache_dir` keeps
    what was verified, so that a warm start need not hash the file again.

    The worker is given up when `heartbeat_misses` pings, `heartbeat_s` apart, find no answer,
    or when it has work and makes no progress for `stall_s`.
    """

    model_path: str
    model_name: str
    model_sha256: str | None = None
    quantization: str | None = None
    context_tokens: int = 8192
    slots: int = 4
    threads: int = 0
    batch_tokens: int = 512
    mixed_batch_tokens: int = 128
    queue_limit: int = 32
    flash_attention: bool = False
    cache_dir: str | None = None
    heartbeat_s: float = 2.0
    heartbeat_misses: int = 5
    stall_s: float = 120.0
    load_timeout_s: float = 300.0
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 2.0
