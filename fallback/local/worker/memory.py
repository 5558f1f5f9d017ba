"""What fits into this machine: context, its type, layers on a GPU. Pure: `estimate` asks llama.cpp.

What does not fit is made smaller in this order, and refused with a sentence where nothing helps:
first the context that nobody asked for by number, then its type (q8_0 takes 53 % of f16, and is
slower to read prompts into), then layers that no GPU holds, then the context that was asked for,
down to `LEAST_CONTEXT_TOKENS`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from fallback.core.errors import EngineError
from fallback.local.settings import WorkerSettings
from fallback.local.worker.hardware import Device, Hardware
from fallback.local.worker.tuning import KvType, Tuning

LEAST_CONTEXT_TOKENS = 1024
# A context that nobody asked for by number is at most this, and takes half of what is allowed.
MOST_CHOSEN_TOKENS = 32_768
LEAST_CHOSEN_TOKENS = 4096
_CHOSEN_SHARE = 0.5
_ALLOWED_SHARE = 0.8
# What llama.cpp leaves free on a device when it fits a model itself (its `--fit-target`).
_DEVICE_MARGIN_BYTES = 1024 * 1024 * 1024
_MB = 1024 * 1024


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What llama.cpp would take, in bytes: the weights, the context's memory, the buffers it
    computes in."""

    weights_bytes: int
    context_bytes: int
    compute_bytes: int

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.context_bytes + self.compute_bytes


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A model's size. `layers` counts the output layer as one more, as llama.cpp does."""

    layers: int
    weights_bytes: int
    train_context_tokens: int


def room_bytes(settings: WorkerSettings, hardware: Hardware) -> int:
    """How much memory model and context may take in all."""
    return settings.memory_mb * _MB or int(_ALLOWED_SHARE * hardware.free_bytes)


def wished_context(settings: WorkerSettings, shape: Shape) -> int:
    """The context to begin with: the operator's, or what the model was trained for."""
    trained = shape.train_context_tokens or MOST_CHOSEN_TOKENS
    return settings.context_tokens or min(MOST_CHOSEN_TOKENS, trained)


def kv_types(settings: WorkerSettings) -> tuple[KvType, ...]:
    """The types to try, the better one first."""
    if settings.kv_type == "auto":
        return ("f16",) if settings.flash_attention is False else ("f16", "q8_0")
    return (settings.kv_type,)


def fitted(
    make: Callable[[int, KvType], Tuning],
    estimate: Callable[[Tuning], Need | None],
    settings: WorkerSettings,
    shape: Shape,
    room: int,
) -> Tuning:
    """The largest of what `make` gives for a context and a type that takes at most `room` bytes.
    `estimate` gives None for what cannot be.

    Raises `EngineError` with the sentence that says what is needed and what there is.
    """
    context = wished_context(settings, shape)
    least = min(context, LEAST_CONTEXT_TOKENS)
    if not settings.context_tokens:
        chosen_room = int(_CHOSEN_SHARE * room)
        while context > LEAST_CHOSEN_TOKENS and not _fits(
            estimate(make(context, kv_types(settings)[0])), chosen_room
        ):
            context //= 2
    while True:
        for kv_type in kv_types(settings):
            tuning = make(context, kv_type)
            if _fits(need := estimate(tuning), room):
                return tuning
        if context <= least:
            raise EngineError(_refusal(need, context, room))
        context = max(least, context // 2)


def gpu_layers(
    settings: WorkerSettings, shape: Shape, need: Need, devices: Sequence[Device]
) -> int:
    """How many layers the devices hold, each with its part of the context, beside the buffers."""
    if settings.gpu_layers >= 0:
        return min(settings.gpu_layers, shape.layers)
    layer_bytes = max(1.0, (need.weights_bytes + need.context_bytes) / shape.layers)
    free = (device.free_bytes - _DEVICE_MARGIN_BYTES - need.compute_bytes for device in devices)
    return min(sum(int(max(0, each) // layer_bytes) for each in free), shape.layers)


def _fits(need: Need | None, room: int) -> bool:
    return need is not None and need.total_bytes <= room


def _refusal(need: Need | None, context: int, room: int) -> str:
    if need is None:
        return f"llama.cpp cannot make a context of {context} tokens for this model"
    return (
        f"the model does not fit: even with a context of {context} tokens it takes"
        f" {need.total_bytes // _MB} MB ({need.weights_bytes // _MB} of them weights), and"
        f" {room // _MB} MB may be taken; free some memory, set local.memory_mb, or choose a"
        f" smaller model"
    )
