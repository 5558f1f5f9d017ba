"""What is decided about a context: by the operator, by measurement, by a guess."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.settings import WorkerSettings
from fallback.local.worker.hardware import Hardware
from fallback.local.worker.tuning import Choice, Speeds, first_choice, obeying, tuned

HARDWARE = Hardware(
    cpu="cpu", features="f", cores=6, logical_cores=12, memory_bytes=8 << 30, free_bytes=4 << 30
)
CHOICE = Choice(
    variant="requantized",
    flash_attention=True,
    ubatch_tokens=128,
    kv_unified=False,
    threads=5,
    threads_batch=6,
)


def settings(**changes: object) -> WorkerSettings:
    base = WorkerSettings(model_path="m", model_name="m", requantize="auto")
    return msgspec.structs.replace(base, **changes)


def test_the_guess() -> None:
    """Unmeasured: a thread a core, memory shared, flash attention where a GPU computes."""
    on_cpu = first_choice(settings(), HARDWARE, gpu_layers=0)
    assert (on_cpu.threads, on_cpu.threads_batch, on_cpu.flash_attention) == (6, 6, False)
    assert (on_cpu.kv_unified, on_cpu.ubatch_tokens, on_cpu.variant) == (True, 256, "given")
    on_gpu = first_choice(settings(), HARDWARE, gpu_layers=31)
    assert (on_gpu.flash_attention, on_gpu.ubatch_tokens) == (True, 512)


def test_measured_stands() -> None:
    """What was measured is taken as it is where the operator said nothing."""
    assert obeying(CHOICE, settings()) == CHOICE


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"flash_attention": False}, {"flash_attention": False}),
        ({"kv_unified": True}, {"kv_unified": True}),
        ({"ubatch_tokens": 64}, {"ubatch_tokens": 64}),
        ({"threads": 3}, {"threads": 3, "threads_batch": 3}),
        ({"requantize": "off"}, {"variant": "given"}),
    ],
)
def test_the_operator_stands(told: dict[str, object], found: dict[str, object]) -> None:
    """What the operator set stands over what was measured, and over the guess."""
    expected = msgspec.structs.replace(CHOICE, **found)
    assert obeying(CHOICE, settings(**told)) == expected
    guess = first_choice(settings(**told), HARDWARE, gpu_layers=0)
    assert msgspec.structs.replace(guess, **found) == guess


def test_shared() -> None:
    """A shared context is one for all: a request may have the whole of it."""
    choice = msgspec.structs.replace(CHOICE, kv_unified=True)
    tuning = tuned(choice, settings(request_tokens=100), context_tokens=8192)
    assert (tuning.context_tokens, tuning.sequence_tokens) == (8192, 8192)


@given(
    slots=st.integers(1, 64),
    context=st.integers(1, 200_000),
    request=st.integers(0, 200_000),
    unified=st.booleans(),
)
def test_the_promise(slots: int, context: int, request: int, unified: bool) -> None:
    """Whatever the layout, a request has the context that the settings promise, and all slots
    together no more than there is."""
    choice = msgspec.structs.replace(CHOICE, kv_unified=unified)
    told = settings(slots=slots, request_tokens=request)
    tuning = tuned(choice, told, context_tokens=context)
    assert tuning.sequence_tokens >= min(request or context, context)
    if unified:
        assert tuning.context_tokens == context
    else:
        assert tuning.sequence_tokens * slots == tuning.context_tokens or slots == 1


def test_quantized_context() -> None:
    """A context in q8_0 takes flash attention: llama.cpp has it no other way."""
    choice = msgspec.structs.replace(CHOICE, flash_attention=False)
    tuning = tuned(choice, settings(), context_tokens=1024, kv_type="q8_0")
    assert tuning.choice.flash_attention


def test_described() -> None:
    """The status says in words how the model is run, and whether that was measured."""
    guess = tuned(first_choice(settings(), HARDWARE, 0), settings(), context_tokens=8192)
    assert guess.describe() == (
        "not measured: 6 threads, flash attention off, 256 tokens at once, shared context in f16"
    )
    speeds = Speeds(prefill=(1.0, 0.0), decode=(1.0, 0.0))
    found = tuned(CHOICE, settings(), context_tokens=8192, gpu_layers=4, speeds=speeds)
    assert found.describe() == (
        "measured here: 5 threads (6 for prompts), flash attention on, 128 tokens at once,"
        " split context in f16, 4 layers on the GPU"
    )
