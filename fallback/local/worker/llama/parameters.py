"""A tuning, in llama.cpp's own terms. Source: llama.h of llama.cpp, as bound by llama_cpp."""

from __future__ import annotations

from typing import Any

import llama_cpp

from fallback.local.worker.tuning import Tuning

_KV_TYPES = {"f16": llama_cpp.GGML_TYPE_F16, "q8_0": llama_cpp.GGML_TYPE_Q8_0}


def model_parameters(gpu_layers: int, *, repacked: bool = False) -> Any:
    """For a load with so many layers on a GPU. Weights that are `repacked` for the processor are
    copied anyway: a mapped file would stay in memory beside them (56 MB of 92 MB here)."""
    parameters = llama_cpp.llama_model_default_params()
    parameters.n_gpu_layers = gpu_layers
    if repacked:
        parameters.load_mode = llama_cpp.LLAMA_LOAD_MODE_NONE
    return parameters


def context_parameters(tuning: Tuning, *, outputs: int) -> Any:
    """For a context split into slots, in which one step gives the logits of at most `outputs`
    tokens."""
    choice = tuning.choice
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = tuning.context_tokens
    parameters.n_batch = tuning.batch_tokens
    parameters.n_ubatch = min(choice.ubatch_tokens, tuning.batch_tokens)
    parameters.n_seq_max = tuning.slots
    parameters.n_outputs_max = outputs
    parameters.n_threads = choice.threads
    parameters.n_threads_batch = choice.threads_batch
    parameters.kv_unified = False
    parameters.type_k = parameters.type_v = _KV_TYPES[tuning.kv_type]
    parameters.no_perf = True
    parameters.flash_attn_type = (
        llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if choice.flash_attention
        else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    return parameters
