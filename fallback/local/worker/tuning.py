"""How the model is run on this machine: measured, told by the operator, or a good guess. Pure.

Rules of this file:
- What the operator set stands; then what was measured here; then the guess.
- The context is split between those that run (`layout.py`). A request may have `request_tokens`
  of it, or else half, so that a long one never has to wait until nobody else is there.
- Flash attention, where nothing was measured: on with a GPU, off without (shared facts, 7: on a
  CPU it can halve the speed at depth, and differs from one kind to the next).
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fallback.local.settings import WorkerSettings
from fallback.local.worker.hardware import Hardware
from fallback.local.worker.layout import Layout

KvType: TypeAlias = Literal["f16", "q8_0"]
Variant: TypeAlias = Literal["given", "requantized"]
Line: TypeAlias = tuple[float, float]

# Half the attention scores of a larger one to keep in memory, and 5 % faster here.
_UBATCH_TOKENS = 256
_GPU_UBATCH_TOKENS = 512


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What calibration may choose. `threads` decode, `threads_batch` read prompts."""

    variant: Variant = "given"
    flash_attention: bool
    ubatch_tokens: int
    threads: int
    threads_batch: int


class Speeds(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds a token at no depth, and more for each token of depth: to read a prompt, and to
    decode one answer alone. `crowd_s` is a step of `crowd` answers at `crowd_depth` each."""

    prefill: Line
    decode: Line
    crowd: int = 1
    crowd_depth: int = 0
    crowd_s: float = 0.0


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a context that has to be decided. `context_tokens` are all cells,
    `sequence_tokens` what one sequence may have of them."""

    choice: Choice
    context_tokens: int
    sequence_tokens: int
    slots: int
    batch_tokens: int
    kv_type: KvType = "f16"
    gpu_layers: int = 0
    speeds: Speeds | None = None

    @property
    def fewest_slots(self) -> int:
        """Into how many the context is split where one of them must hold the longest sequence."""
        layout = Layout(slots=self.slots, context_tokens=self.context_tokens)
        return layout.split([self.sequence_tokens], self.slots)

    @property
    def measured(self) -> bool:
        """Whether this machine was measured for it."""
        return self.speeds is not None

    def describe(self) -> str:
        """In words, for the status."""
        choice = self.choice
        threads = f"{choice.threads} threads"
        if choice.threads_batch != choice.threads:
            threads += f" ({choice.threads_batch} for prompts)"
        parts = [
            threads,
            f"flash attention {'on' if choice.flash_attention else 'off'}",
            f"{choice.ubatch_tokens} tokens at once",
            f"context in {self.kv_type}",
        ]
        if self.gpu_layers:
            parts.append(f"{self.gpu_layers} layers on the GPU")
        return f"{'measured here' if self.measured else 'not measured'}: {', '.join(parts)}"


def first_choice(settings: WorkerSettings, hardware: Hardware, gpu_layers: int) -> Choice:
    """The settings' words and a good guess for what they leave open."""
    threads = settings.threads or hardware.cores
    flash = settings.flash_attention
    return Choice(
        flash_attention=gpu_layers > 0 if flash is None else flash,
        ubatch_tokens=settings.ubatch_tokens or _guessed_ubatch(settings, gpu_layers),
        threads=threads,
        threads_batch=threads,
    )


def obeying(choice: Choice, settings: WorkerSettings) -> Choice:
    """What was measured, with what the operator set since."""
    told: dict[str, object] = {
        "flash_attention": settings.flash_attention,
        "ubatch_tokens": settings.ubatch_tokens or None,
        "threads": settings.threads or None,
        "threads_batch": settings.threads or None,
    }
    if settings.requantize == "off":
        told["variant"] = "given"
    changes = {name: value for name, value in told.items() if value is not None}
    return msgspec.structs.replace(choice, **changes)


def tuned(
    choice: Choice,
    settings: WorkerSettings,
    *,
    context_tokens: int,
    kv_type: KvType = "f16",
    gpu_layers: int = 0,
    speeds: Speeds | None = None,
) -> Tuning:
    """The whole of it, for a memory that all sequences share `context_tokens` of."""
    most = context_tokens // 2 if settings.slots > 1 else context_tokens
    if kv_type == "q8_0":
        # llama.cpp quantizes the values only where flash attention reads them.
        choice = msgspec.structs.replace(choice, flash_attention=True)
    return Tuning(
        choice=choice,
        context_tokens=context_tokens,
        sequence_tokens=min(settings.request_tokens or most, context_tokens),
        slots=settings.slots,
        batch_tokens=settings.batch_tokens,
        kv_type=kv_type,
        gpu_layers=gpu_layers,
        speeds=speeds,
    )


def _guessed_ubatch(settings: WorkerSettings, gpu_layers: int) -> int:
    return min(settings.batch_tokens, _GPU_UBATCH_TOKENS if gpu_layers else _UBATCH_TOKENS)
