"""What fits into a machine, against an estimate by simple arithmetic."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.errors import EngineError
from fallback.local.settings import WorkerSettings
from fallback.local.worker.hardware import Device, Hardware
from fallback.local.worker.memory import (
    LEAST_CONTEXT_TOKENS,
    Need,
    Shape,
    fitted,
    gpu_layers,
    room_bytes,
)
from fallback.local.worker.tuning import Choice, KvType, Tuning, tuned

MB = 1024 * 1024
GB = 1024 * MB
CHOICE = Choice(flash_attention=False, ubatch_tokens=256, threads=2, threads_batch=2)
SHAPE = Shape(layers=32, weights_bytes=4 * GB, train_context_tokens=131_072)
NEED = Need(weights_bytes=4 * GB, context_bytes=GB, compute_bytes=256 * MB)


def settings(**changes: object) -> WorkerSettings:
    base = WorkerSettings(model_path="m", model_name="m", context_tokens=0)
    return msgspec.structs.replace(base, **changes)


def hardware(free_bytes: int) -> Hardware:
    return Hardware(
        cpu="c", features="f", cores=2, logical_cores=2, memory_bytes=64 * GB, free_bytes=free_bytes
    )


def gpu(free_bytes: int) -> Device:
    return Device(name="CUDA0", description="d", free_bytes=free_bytes, total_bytes=80 * GB)


def need(tuning: Tuning) -> Need:
    """As of a model of 7 billion weights: 128 KB of context a token."""
    token_bytes = 128 * 1024 if tuning.kv_type == "f16" else 68 * 1024
    return Need(
        weights_bytes=SHAPE.weights_bytes,
        context_bytes=token_bytes * tuning.context_tokens,
        compute_bytes=256 * MB,
    )


def fit(told: WorkerSettings, room: int) -> Tuning:
    def make(context: int, kv_type: KvType) -> Tuning:
        return tuned(CHOICE, told, context_tokens=context, kv_type=kv_type)

    return fitted(make, need, told, SHAPE, room)


def test_roomy() -> None:
    """With memory enough, a context that nobody asked for is 32768 tokens of f16."""
    tuning = fit(settings(), 32 * GB)
    assert (tuning.context_tokens, tuning.kv_type) == (32_768, "f16")


def test_chosen_modestly() -> None:
    """A context that nobody asked for takes at most half of what is allowed with the model, and
    is f16 while it can be."""
    tuning = fit(settings(), 11 * GB)
    assert (tuning.context_tokens, tuning.kv_type) == (8192, "f16")


def test_asked_for() -> None:
    """One that was asked for by number may take all that is allowed."""
    assert fit(settings(context_tokens=32_768), 9 * GB).kv_type == "f16"
    asked = fit(settings(context_tokens=32_768), 7 * GB)
    assert (asked.context_tokens, asked.kv_type) == (32_768, "q8_0")


def test_smaller() -> None:
    """What does not fit even in q8_0 is made smaller, not refused."""
    tuning = fit(settings(context_tokens=131_072), 6 * GB)
    assert (tuning.context_tokens, tuning.kv_type) == (16_384, "q8_0")


def test_a_type_that_was_set() -> None:
    """Where the operator set the type, only the context gives way."""
    tuning = fit(settings(context_tokens=32_768, kv_type="f16"), 7 * GB)
    assert (tuning.context_tokens, tuning.kv_type) == (16_384, "f16")


def test_refused() -> None:
    """A model that fits in no way is refused with what it takes, what there is and what to do."""
    words = r"context of 1024 tokens it takes 4420 MB \(4096 of them weights\), and 4096 MB may"
    with pytest.raises(EngineError, match=words):
        fit(settings(), 4 * GB)


def test_impossible_type() -> None:
    """A context that llama.cpp cannot make in q8_0 is made smaller in f16 instead."""

    def estimate(tuning: Tuning) -> Need | None:
        return need(tuning) if tuning.kv_type == "f16" else None

    def make(context: int, kv_type: KvType) -> Tuning:
        return tuned(CHOICE, settings(), context_tokens=context, kv_type=kv_type)

    told = settings(context_tokens=32_768)
    tuning = fitted(make, estimate, told, SHAPE, 7 * GB)
    assert (tuning.context_tokens, tuning.kv_type) == (16_384, "f16")


@given(
    room=st.integers(0, 64 * GB),
    more=st.integers(0, 64 * GB),
    context=st.one_of(st.just(0), st.integers(1, 200_000)),
)
def test_never_over(room: int, more: int, context: int) -> None:
    """What is found fits, is no more than what was asked for, and does not shrink with more
    memory."""
    told = settings(context_tokens=context)
    try:
        tuning = fit(told, room)
    except EngineError:
        least = tuned(
            CHOICE,
            told,
            context_tokens=min(context or LEAST_CONTEXT_TOKENS, LEAST_CONTEXT_TOKENS),
            kv_type="q8_0",
        )
        assert need(least).total_bytes > room
        return
    assert need(tuning).total_bytes <= room
    assert tuning.context_tokens <= (context or 32_768)
    assert fit(told, room + more).context_tokens >= tuning.context_tokens


def test_room() -> None:
    """Four fifths of what is free, or what the operator says."""
    assert room_bytes(settings(), hardware(10 * GB)) == 8 * GB
    assert room_bytes(settings(memory_mb=512), hardware(10 * GB)) == 512 * MB


@pytest.mark.parametrize(
    ("free", "layers"),
    [
        ((24 * GB,), 32),  # all of it
        ((1 * GB,), 0),  # nothing beside the margin
        ((4 * GB,), 17),  # 2.75 GB of 160 MB layers
        ((4 * GB, 4 * GB), 32),
        ((0, 24 * GB), 32),
    ],
)
def test_layers(free: tuple[int, ...], layers: int) -> None:
    """As many layers as the devices hold with their part of the context, a gigabyte left free."""
    assert gpu_layers(settings(), SHAPE, NEED, [gpu(each) for each in free]) == layers


def test_layers_that_were_set() -> None:
    """The operator's number stands, as far as the model has as many."""
    assert gpu_layers(settings(gpu_layers=7), SHAPE, NEED, [gpu(0)]) == 7
    assert gpu_layers(settings(gpu_layers=700), SHAPE, NEED, [gpu(0)]) == 32
