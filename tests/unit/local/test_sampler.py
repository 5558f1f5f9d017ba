"""Tokens are drawn as from the whole vocabulary, though llama.cpp's samplers see few of them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp
import numpy as np
import numpy.typing as npt
import pytest

from fallback.local.worker.llama.sampler import Candidates, sampler_chain
from fallback.local.worker.sampling import PENALTY_TOKENS, SamplerSettings

VOCABULARY = 5000
WISHES = {
    "greedy": SamplerSettings(temperature=0.0),
    "usual": SamplerSettings(seed=1),
    "wild": SamplerSettings(temperature=2.0, top_p=1.0, min_p=0.0, top_k=300, seed=2),
    "many": SamplerSettings(temperature=2.0, top_p=1.0, top_k=100_000, seed=3),
    "penalties": SamplerSettings(frequency_penalty=1.5, presence_penalty=0.5, seed=4),
}


@contextmanager
def _chain(settings: SamplerSettings, said: list[int]) -> Iterator[Any]:
    chain = sampler_chain(settings, VOCABULARY)
    for token in said:
        llama_cpp.llama_sampler_accept(chain, token)
    yield chain
    llama_cpp.llama_sampler_free(chain)


def _loaded(logits: npt.NDArray[np.float32]) -> Candidates:
    candidates = Candidates(len(logits))
    candidates.load(logits.ctypes.data_as(ctypes.POINTER(ctypes.c_float)))
    return candidates


@pytest.mark.parametrize("settings", WISHES.values(), ids=WISHES)
@pytest.mark.parametrize("likely_said", [True, False], ids=["likely said", "any said"])
def test_drawn_as_among_all(settings: SamplerSettings, *, likely_said: bool) -> None:
    """The same token, also where the penalties lower just what is most likely."""
    random = np.random.default_rng(5)
    for _ in range(30):
        logits = (random.normal(size=VOCABULARY) * 3).astype(np.float32)
        by_rank = np.argsort(-logits) if likely_said else random.permutation(VOCABULARY)
        said = [int(token) for token in by_rank[:PENALTY_TOKENS]]
        candidates = _loaded(logits)
        with _chain(settings, said) as one, _chain(settings, said) as other:
            drawn = candidates.draw(one, argmax=False, among=settings.among)
            assert drawn == candidates.draw(other, argmax=False)


def test_few_are_left_by_a_grammar() -> None:
    """A mask that leaves less than is looked at leaves those."""
    logits = np.arange(VOCABULARY, dtype=np.float32)
    candidates = _loaded(logits)
    mask = np.zeros(VOCABULARY, dtype=np.bool_)
    mask[[7, 11]] = True
    candidates.keep(mask)
    settings = WISHES["usual"]
    with _chain(settings, []) as chain:
        drawn = {candidates.draw(chain, argmax=False, among=settings.among) for _ in range(20)}
    assert drawn <= {7, 11}
    assert 11 in drawn


def test_a_penalty_below_nothing_looks_at_all() -> None:
    """Where what was said becomes likelier, any token may come out on top."""
    assert SamplerSettings(presence_penalty=-1.0).among is None
    assert SamplerSettings(frequency_penalty=-0.1).among is None
    assert SamplerSettings(repeat_penalty=0.9).among is None
