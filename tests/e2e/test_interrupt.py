"""Breaking off a step of the real model."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from fallback.local.worker.llama.batch import Batch
from fallback.local.worker.llama.interrupt import Interrupt
from fallback.modelstore import locate

TOKENS = 512
ABORTED = 2


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    path = Path(locate("smollm2-135m-instruct").path)
    model = llama_cpp.llama_model_load_from_file(
        str(path).encode(), llama_cpp.llama_model_default_params()
    )
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = TOKENS
    parameters.n_threads = parameters.n_threads_batch = 2
    made = llama_cpp.llama_init_from_model(model, parameters)
    yield made
    llama_cpp.llama_free(made)
    llama_cpp.llama_model_free(model)


def decode(context: Any, tokens: int) -> int:
    """Compute a step from an empty context; llama.cpp's status."""
    memory = llama_cpp.llama_get_memory(context)
    llama_cpp.llama_memory_clear(memory, False)
    batch = Batch(tokens)
    batch.add(np.arange(1000, 1000 + tokens).tolist(), 0, 0, outputs=1)
    return int(llama_cpp.llama_decode(context, batch.native()))


@contextmanager
def again_and_again(what: Callable[[], None]) -> Iterator[None]:
    done = threading.Event()

    def repeat() -> None:
        while not done.wait(0.005):
            what()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_a_step_is_broken_off_where_that_is_allowed(context: Any) -> None:
    """Nothing of it stays in the context, and the next step runs to its end."""
    interrupt = Interrupt(context)
    with again_and_again(interrupt.now), interrupt.allowed():
        assert decode(context, TOKENS) == ABORTED
    assert llama_cpp.llama_memory_seq_pos_max(llama_cpp.llama_get_memory(context), 0) == -1
    with interrupt.allowed():
        assert decode(context, 8) == 0


def test_no_other_step_is(context: Any) -> None:
    """Whoever calls in the middle of a step that somebody waits for calls in vain."""
    interrupt = Interrupt(context)
    with again_and_again(interrupt.now):
        assert decode(context, 32) == 0
