"""The vocabulary that grammars are compiled for: a model's, or single bytes."""

from __future__ import annotations

from pathlib import Path

import llguidance

_kept: list[object] = []


def tokenizer_of(model: Path | None) -> llguidance.LLTokenizer:
    """That of a GGUF file, whose weights are only mapped; of bytes without one."""
    if model is None:
        return llguidance.LLTokenizer("byte")
    from fallback.local.worker.llama.model import Model

    loaded = Model(model, sha256="")
    # The tokenizer points into the model.
    _kept.append(loaded)
    return loaded.prepare_grammars().tokenizer
