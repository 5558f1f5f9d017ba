"""States taken out of one context of the real model and put into another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import pytest

from fallback.local.worker.llama.batch import Batch
from fallback.local.worker.llama.kv import KvMemory
from fallback.local.worker.llama.model import Model

SLOT_TOKENS = 256
ALIVE = "The keeper of the lighthouse counted the ships, one after the other, and wrote them down"


@pytest.fixture(scope="module")
def model(model_path: Path) -> Iterator[Model]:
    model = Model(model_path, sha256="", gpu_layers=0)
    yield model
    model.close()


class Context:
    """A context of so many slots, and its memory."""

    def __init__(self, model: Model, slots: int) -> None:
        parameters = llama_cpp.llama_context_default_params()
        parameters.n_ctx = slots * SLOT_TOKENS
        parameters.n_seq_max = slots
        parameters.n_batch = parameters.n_ubatch = 64
        parameters.kv_unified = False
        parameters.n_threads = parameters.n_threads_batch = 2
        self._size = model.vocabulary_size
        self.native: Any = llama_cpp.llama_init_from_model(model.pointer, parameters)
        self.kv = KvMemory(self.native, slots)

    def compute(self, slot: int, tokens: list[int], position: int = 0) -> int:
        """The token that is most likely to follow these."""
        batch = Batch(64)
        last = batch.add(tokens, position, slot, outputs=1)
        assert llama_cpp.llama_decode(self.native, batch.native()) == 0
        logits = llama_cpp.llama_get_logits_ith(self.native, last)
        return int(np.ctypeslib.as_array(logits, shape=(self._size,)).argmax())

    def go_on(self, slot: int, token: int, position: int) -> list[int]:
        """What follows, each token as likely as can be."""
        said = [token]
        for n in range(8):
            said.append(self.compute(slot, said[-1:], position + n))
        return said


@contextmanager
def context(model: Model, slots: int) -> Iterator[Context]:
    made = Context(model, slots)
    try:
        yield made
    finally:
        llama_cpp.llama_free(made.native)


@pytest.mark.parametrize(("slots", "slot"), [(1, 0), (8, 5), (4, 2), (4, 0), (4, 3)])
def test_a_state_fits_every_context(model: Model, slots: int, slot: int) -> None:
    """A state out of one slot of four goes on in any slot of a context split otherwise, beside
    what lies there already."""
    tokens = model.tokenize_text(ALIVE)
    other = model.tokenize_text("Something else.")
    with context(model, 4) as one:
        one.compute(1, other)
        token = one.compute(2, tokens)
        state = one.kv.take(2)
        expected = one.go_on(2, token, len(tokens))
    with context(model, slots) as another:
        neighbour = (slot + 1) % slots
        if neighbour != slot:
            another.compute(neighbour, other)
        assert another.kv.put(slot, state)
        assert another.kv.holds(slot, len(tokens))
        assert another.go_on(slot, token, len(tokens)) == expected
        assert neighbour == slot or another.kv.holds(neighbour, len(other))


def test_a_copy_can_be_cut(model: Model) -> None:
    """A beginning that is copied from one that runs goes on by itself, and that one too."""
    tokens = model.tokenize_text(ALIVE)
    with context(model, 4) as here:
        token = here.compute(3, tokens)
        half = len(tokens) // 2
        assert here.kv.copy(3, 0)
        assert here.kv.cut(0, half)
        assert here.kv.holds(0, half)
        assert here.kv.holds(3, len(tokens))
        here.compute(0, tokens[half:], half)
        assert here.kv.holds(0, len(tokens))
        expected = here.go_on(3, token, len(tokens))
        assert here.kv.put(1, here.kv.take(3))
        assert here.kv.cut(1, len(tokens))
        assert here.go_on(1, token, len(tokens)) == expected


@pytest.mark.parametrize("slots", [1, 4])
def test_an_empty_slot_has_no_state(model: Model, slots: int) -> None:
    """Out of an empty slot comes nothing, and nothing cannot be put anywhere."""
    with context(model, slots) as here:
        state = here.kv.take(slots - 1)
        assert len(state) == 0
        assert not here.kv.put(0, state)
        assert here.kv.holds(0, 0)


@pytest.mark.parametrize("slots", [1, 4])
def test_a_damaged_state_is_refused(model: Model, slots: int) -> None:
    """A state that is cut short leaves the slot without a beginning to go on from."""
    tokens = model.tokenize_text(ALIVE)
    with context(model, slots) as here:
        here.compute(0, tokens)
        state = here.kv.take(0)
        assert not here.kv.put(0, state[: len(state) // 2])
        here.kv.clear(0)
        assert here.kv.holds(0, 0)
