"""What the installed build of llama.cpp can compute on.

ggml's list of devices is reached through the shared library that llama-cpp-python has loaded:
its bindings do not have these functions. Source: ggml-backend.h of llama.cpp.
"""

from __future__ import annotations

import ctypes

import llama_cpp
from llama_cpp._ggml import libggml

from fallback.local.worker.hardware import Device

_GPU = 1
_INTEGRATED_GPU = 2


def features() -> str:
    """What this build can do and which of it the processor has; a new build says it anew."""
    system = " ".join(llama_cpp.llama_print_system_info().decode(errors="replace").split())
    return f"llama-cpp-python {llama_cpp.__version__}; {system}"


def gpus() -> tuple[Device, ...]:
    """The GPUs, empty for a build without support of any. Sizes as of now."""
    if not llama_cpp.llama_supports_gpu_offload():
        return ()
    _declare()
    found = (libggml.ggml_backend_dev_get(index) for index in range(_count()))
    kinds = ((device, libggml.ggml_backend_dev_type(device)) for device in found)
    return tuple(_describe(device, kind) for device, kind in kinds if kind in _GPUS)


_GPUS = frozenset((_GPU, _INTEGRATED_GPU))


def _describe(device: int, kind: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    libggml.ggml_backend_dev_memory(device, ctypes.byref(free), ctypes.byref(total))
    return Device(
        name=libggml.ggml_backend_dev_name(device).decode(errors="replace"),
        description=libggml.ggml_backend_dev_description(device).decode(errors="replace"),
        free_bytes=free.value,
        total_bytes=total.value,
        integrated=kind == _INTEGRATED_GPU,
    )


def _count() -> int:
    return int(libggml.ggml_backend_dev_count())


def _declare() -> None:
    """The C signatures; without them ctypes would cut pointers to 32 bits."""
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    libggml.ggml_backend_dev_count.restype = ctypes.c_size_t
    libggml.ggml_backend_dev_get.argtypes = [ctypes.c_size_t]
    libggml.ggml_backend_dev_get.restype = pointer
    for name, result in (("name", text), ("description", text), ("type", ctypes.c_int)):
        function = getattr(libggml, f"ggml_backend_dev_{name}")
        function.argtypes, function.restype = [pointer], result
    sizes = ctypes.POINTER(ctypes.c_size_t)
    libggml.ggml_backend_dev_memory.argtypes = [pointer, sizes, sizes]
    libggml.ggml_backend_dev_memory.restype = None
