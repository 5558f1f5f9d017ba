"""A model of random weights: which tensors, in which form."""

import numpy as np
import pytest
from engine_peer.random_model import Tensor, block_bytes, filled, tensors


def size(tensor: Tensor) -> int:
    if tensor.kind == "F32":
        return 4 * tensor.rows
    return tensor.rows * tensor.columns // 256 * block_bytes(tensor.kind)


def test_the_shape_of_8b() -> None:
    """All 32 layers have the weights of a model of 7 to 8 billion, in about 4.5 bits each."""
    every = list(tensors(32, 49152))
    weights = sum(tensor.rows * max(1, tensor.columns) for tensor in every)
    assert 7.0e9 < weights < 8.0e9
    assert 4.5 < 8 * sum(map(size, every)) / weights < 5.0
    assert len({tensor.name for tensor in every}) == len(every) == 3 + 32 * 9


@pytest.mark.parametrize(("kind", "scales_at"), [("Q4_K", [0, 2]), ("Q6_K", [208])])
def test_small_scales(kind: str, scales_at: list[int]) -> None:
    """Every block has its own bits, and scales that keep its weights small."""
    data = filled(Tensor(name="w", rows=2, columns=512, kind=kind), np.random.default_rng(1))
    assert data.shape == (2, 2 * block_bytes(kind))
    blocks = data.reshape(4, -1)
    assert len({bytes(block) for block in blocks}) == 4
    for at in scales_at:
        scales = blocks[:, at : at + 2].copy().view(np.float16)
        assert np.all((scales > 0) & (scales < 1e-3))


def test_a_vector_is_of_ones() -> None:
    """Norms leave what they are given."""
    assert np.array_equal(
        filled(Tensor(name="n", rows=3), np.random.default_rng(1)), np.ones(3, np.float32)
    )
