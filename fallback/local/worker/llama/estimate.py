"""llama.cpp's own estimate of the memory that a model and a context take, without taking it.

`no_alloc` makes it go through a whole load and tell, in its log, what it would reserve; its own
`--fit` does the same. Source: common/fit.cpp and llama-context.cpp of llama.cpp. Takes as long as
reading the vocabulary: 0.1 s for 49k tokens.
"""

from __future__ import annotations

import re
from pathlib import Path

import llama_cpp
import msgspec

from fallback.core.errors import EngineError
from fallback.local.worker.llama.log import log
from fallback.local.worker.llama.parameters import context_parameters, model_parameters
from fallback.local.worker.memory import Need, Shape
from fallback.local.worker.tuning import Tuning

_MB = 1024 * 1024
_F16_BYTES = 2
_F32_BYTES = 4
_WIDEST_HEAD = 256
# llama.cpp gives each slot a multiple of this.
_CELL_STEP = 256
# Activations of one token beside its attention scores: several rows of the widest layer.
_WIDE_ROWS = 65_536
# "llama_kv_cache: size =  180.00 MiB (  8192 cells,  30 layers, ...", also of recurrent states.
_CONTEXT = re.compile(r"size = +([\d.]+) MiB \( *\d+ cells")
_COMPUTE = re.compile(r"(?:compute|output) buffer size = +([\d.]+) MiB")


class DryRun:
    """A model that is only looked at. Must be closed."""

    def __init__(self, path: Path, *, gpu_layers: int = 0) -> None:
        """Read the metadata and the vocabulary. Raises `EngineError`."""
        log.install()
        parameters = model_parameters(gpu_layers)
        parameters.no_alloc = True
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
        self._model = llama_cpp.llama_model_load_from_file(bytes(path), parameters)
        if not self._model:
            raise EngineError(f"llama.cpp cannot read the model {path}: {log.last_error()}")

    def shape(self) -> Shape:
        """The model's size."""
        return model_shape(self._model)

    def need(self, tuning: Tuning) -> Need:
        """What a context like this would take at most, however it is split. Raises `EngineError`
        where there can be none."""
        needs = [self._need(tuning, slots) for slots in {tuning.fewest_slots, tuning.slots}]
        return Need(
            weights_bytes=llama_cpp.llama_model_size(self._model),
            context_bytes=max(context for context, _ in needs),
            compute_bytes=max(compute for _, compute in needs),
        )

    def _need(self, tuning: Tuning, slots: int) -> tuple[int, int]:
        shape = msgspec.structs.replace(tuning, slots=slots)
        with log.listening() as lines:
            context = llama_cpp.llama_init_from_model(
                self._model, context_parameters(shape, outputs=tuning.slots)
            )
        if not context:
            raise EngineError(f"llama.cpp cannot make such a context: {log.last_error()}")
        llama_cpp.llama_free(context)
        return _bytes(_CONTEXT, lines), _bytes(_COMPUTE, lines)

    def close(self) -> None:
        llama_cpp.llama_model_free(self._model)


def model_shape(model: object) -> Shape:
    """The size of a loaded model (llama.cpp's pointer to it)."""
    return Shape(
        layers=llama_cpp.llama_model_n_layer(model) + 1,
        weights_bytes=llama_cpp.llama_model_size(model),
        train_context_tokens=llama_cpp.llama_model_n_ctx_train(model),
    )


def upper_need(model: object, tuning: Tuning) -> Need:
    """More than a context of a loaded model can take, by arithmetic alone: what fits so, fits.

    All layers are counted with a full memory and the wider of the usual heads (some have narrow
    windows, or share it), and the attention scores as if they were always written out.
    """
    heads, kv_heads = (
        llama_cpp.llama_model_n_head(model),
        llama_cpp.llama_model_n_head_kv(model),
    )
    width = max(_WIDEST_HEAD, llama_cpp.llama_model_n_embd(model) // max(1, heads))
    token_bytes = 2 * llama_cpp.llama_model_n_layer(model) * max(1, kv_heads) * width * _F16_BYTES
    vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
    widest = tuning.context_tokens // tuning.fewest_slots + _CELL_STEP
    rows = tuning.choice.ubatch_tokens * (heads * widest + _WIDE_ROWS)
    return Need(
        weights_bytes=llama_cpp.llama_model_size(model),
        context_bytes=token_bytes * (tuning.context_tokens + tuning.slots * _CELL_STEP),
        compute_bytes=(rows + tuning.slots * vocabulary) * _F32_BYTES,
    )


def _bytes(pattern: re.Pattern[str], lines: list[str]) -> int:
    found = (pattern.search(line) for line in lines)
    return int(_MB * sum(float(each.group(1)) for each in found if each is not None))
