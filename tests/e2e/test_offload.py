"""How much of the real model goes on a GPU, by llama.cpp's own estimate; the GPU is made up."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from fallback.local.settings import WorkerSettings
from fallback.local.worker.hardware import Device, Hardware
from fallback.local.worker.llama.estimate import DryRun
from fallback.local.worker.loading import Found, offload
from fallback.local.worker.memory import Need
from fallback.local.worker.tuning import Choice, KvType, tuned

MB = 1024 * 1024
CHOICE = Choice(flash_attention=True, ubatch_tokens=256, threads=2, threads_batch=2)


def settings(model: Path, **changes: object) -> WorkerSettings:
    base = WorkerSettings(model_path=str(model), model_name="m", context_tokens=0)
    return msgspec.structs.replace(base, **changes)


def found(model: Path, free_mb: int) -> Found:
    gpu = Device(name="GPU0", description="d", free_bytes=free_mb * MB, total_bytes=80_000 * MB)
    hardware = Hardware(
        cpu="c",
        features="f",
        cores=2,
        logical_cores=2,
        memory_bytes=8_000 * MB,
        free_bytes=8_000 * MB,
        devices=(gpu,),
    )
    return Found(model, "sha", None, hardware, "key", None)


@pytest.mark.parametrize(
    ("free_mb", "changes", "layers", "context"),
    [
        (4096, {}, 31, 8192),  # all of it
        (1024 + 240, {}, 31, 4096),  # rather less context than a layer left behind
        (1024, {}, 0, 4096),  # nothing beside the margin
        (1024 + 240, {"context_tokens": 8192}, 25, 8192),  # unless it was asked for
        (0, {"gpu_layers": 3}, 3, 8192),
        (4096, {"gpu_layers": 0}, 0, 32_768),
    ],
)
def test_offload(
    model_path: Path, free_mb: int, changes: dict[str, object], layers: int, context: int
) -> None:
    """As many layers as the GPU holds with the context; a context nobody asked for gives way."""
    told = settings(model_path, **changes)
    on_gpu, most_context = offload(told, found(model_path, free_mb))
    assert on_gpu == pytest.approx(layers, abs=2)
    assert most_context == context


def estimate(model: Path, context_tokens: int, kv_type: KvType) -> Need:
    dry = DryRun(model)
    try:
        told = settings(model)
        return dry.need(tuned(CHOICE, told, context_tokens=context_tokens, kv_type=kv_type))
    finally:
        dry.close()


def test_estimate(model_path: Path) -> None:
    """What llama.cpp would take is known without taking it: this model's context is 23 KB a
    token in f16, and 53 % of that in q8_0."""
    need = estimate(model_path, 8192, "f16")
    assert need.context_bytes == 180 * MB
    assert need.weights_bytes == pytest.approx(model_path.stat().st_size, rel=0.05)
    assert 0 < need.compute_bytes < 64 * MB
    assert estimate(model_path, 4096, "f16").context_bytes == 90 * MB
    assert estimate(model_path, 8192, "q8_0").context_bytes == pytest.approx(96 * MB, rel=0.01)
