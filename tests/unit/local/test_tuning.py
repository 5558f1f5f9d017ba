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
    threads=5,
    threads_batch=6,
)


def settings(**changes: object) -> WorkerSettings:
    base = WorkerSettings(model_path="m", model_name="m", requantize="auto")
    return msgspec.structs.replace(base, **changes)


def test_the_guess() -> None:
    """Unmeasured: a thread a core, flash attention where a GPU computes."""
    on_cpu = first_choice(settings(), HARDWARE, gpu_layers=0)
    assert (on_cpu.threads, on_cpu.threads_batch, on_cpu.flash_attention) == (6, 6, False)
    assert (on_cpu.ubatch_tokens, on_cpu.variant) == (256, "given")
    on_gpu = first_choice(settings(), HARDWARE, gpu_layers=31)
    assert (on_gpu.flash_attention, on_gpu.ubatch_tokens) == (True, 512)


def test_measured_stands() -> None:
    """What was measured is taken as it is where the operator said nothing."""
    assert obeying(CHOICE, settings()) == CHOICE


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ({"flash_attention": False}, {"flash_attention": False}),
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


@pytest.mark.parametrize(
    ("told", "sequence", "fewest"),
    [
        ({}, 4096, 2),
        ({"slots": 1}, 8192, 1),
        ({"request_tokens": 100}, 100, 4),
        ({"request_tokens": 8000}, 8000, 1),
        ({"request_tokens": 9000}, 8192, 1),
    ],
)
def test_one_request(told: dict[str, object], sequence: int, fewest: int) -> None:
    """A request may have what the operator says, or half, or what one slot alone has; the
    context is split no wider than that takes."""
    tuning = tuned(CHOICE, settings(**told), context_tokens=8192)
    assert (tuning.sequence_tokens, tuning.fewest_slots) == (sequence, fewest)


@given(
    slots=st.integers(1, 64),
    context=st.integers(2, 200_000),
    request=st.integers(0, 200_000),
)
def test_the_promise(slots: int, context: int, request: int) -> None:
    """All slots have the context that there is, and a request what the settings promise of it;
    without a word of theirs, two of the longest run side by side."""
    tuning = tuned(CHOICE, settings(slots=slots, request_tokens=request), context_tokens=context)
    assert tuning.context_tokens == context
    assert tuning.fewest_slots * tuning.sequence_tokens <= context
    if request:
        assert tuning.sequence_tokens == min(request, context)
    else:
        assert tuning.fewest_slots >= min(slots, 2)


def test_quantized_context() -> None:
    """A context in q8_0 takes flash attention: llama.cpp has it no other way."""
    choice = msgspec.structs.replace(CHOICE, flash_attention=False)
    tuning = tuned(choice, settings(), context_tokens=1024, kv_type="q8_0")
    assert tuning.choice.flash_attention


def test_described() -> None:
    """The status says in words how the model is run, and whether that was measured."""
    guess = tuned(first_choice(settings(), HARDWARE, 0), settings(), context_tokens=8192)
    assert guess.describe() == (
        "not measured: 6 threads, flash attention off, 256 tokens at once, context in f16"
    )
    speeds = Speeds(prefill=(1.0, 0.0), decode=(1.0, 0.0))
    found = tuned(CHOICE, settings(), context_tokens=8192, gpu_layers=4, speeds=speeds)
    assert found.describe() == (
        "measured here: 5 threads (6 for prompts), flash attention on, 128 tokens at once,"
        " context in f16, 4 layers on the GPU"
    )
