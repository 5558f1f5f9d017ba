"""A model file in another quantization, made here. Source: llama_model_quantize of llama.h."""

from __future__ import annotations

import ctypes
from pathlib import Path

import llama_cpp

from fallback.core.errors import EngineError
from fallback.local.worker.llama.log import log

_FILE_TYPES = {"Q4_0": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_0}


def has_repacked_kernels() -> bool:
    """Whether this build rearranges weights for the processor as it loads them."""
    return b"REPACK = 1" in llama_cpp.llama_print_system_info()


def quantize(source: Path, target: Path, quantization: str, *, threads: int) -> None:
    """Write `source` to `target` in `quantization`, from whatever it has now.

    Raises `EngineError`; what lies at `target` then is of no use.
    """
    log.install()
    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = _FILE_TYPES[quantization]
    parameters.allow_requantize = True
    parameters.nthread = threads
    status = llama_cpp.llama_model_quantize(bytes(source), bytes(target), ctypes.byref(parameters))
    if status != 0:
        raise EngineError(f"llama.cpp cannot requantize {source}: {log.last_error()}")
