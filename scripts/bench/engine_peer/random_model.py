"""A model with random weights and the shape of Llama 3 8B, for speed on hardware that is worth it.

    cd scripts/bench && ../../.venv/bin/python -m engine_peer.random_model /tmp/random-8b.gguf
    .venv/bin/python scripts/bench/engine.py --model /tmp/random-8b.gguf --gpu-layers 99

Its tensors have the types that llama.cpp's Q4_K_M gives them, filled with random bits between
scales that keep the numbers small. Tokenizer and chat template are those of the model that comes
with the service. What it says means nothing, and it ends by chance only: once in 50,000 tokens.

Sources: block_q4_K and block_q6_K in ggml-common.h, llama_tensor_get_type in llama-quant.cpp; the
`gguf` package is that of the same source (`build`).
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine_peer.build import llama_server, source
from fallback.modelstore.store import locate

_BASE = "smollm2-135m-instruct"
_EMBEDDING, _FEED_FORWARD, _HEADS, _KV_HEADS, _HEAD = 4096, 14336, 32, 8, 128
_LAYERS, _CONTEXT, _ROPE_BASE, _EPSILON = 32, 8192, 500000.0, 1e-5
_FILE_TYPE_Q4_K_M = 15
_BLOCK = 256
_Q4_SCALE, _Q4_MIDDLE, _Q6_SCALE = 1e-4, 7.5e-4, 2e-5

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One weight matrix (rows, columns), or a vector of ones (no columns)."""

    name: str
    rows: int
    columns: int = 0
    kind: str = "F32"


def tensors(layers: int, vocabulary: int) -> Iterator[Tensor]:
    """All of a model with so many layers."""
    yield Tensor(name="token_embd.weight", rows=vocabulary, columns=_EMBEDDING, kind="Q4_K")
    for layer in range(layers):
        yield from _layer(layer, "Q6_K" if _uses_more_bits(layer, layers) else "Q4_K")
    yield Tensor(name="output_norm.weight", rows=_EMBEDDING)
    yield Tensor(name="output.weight", rows=vocabulary, columns=_EMBEDDING, kind="Q6_K")


def _layer(number: int, finer: str) -> Iterator[Tensor]:
    kv = _KV_HEADS * _HEAD
    matrices = {
        "attn_q": (_EMBEDDING, _EMBEDDING, "Q4_K"),
        "attn_k": (kv, _EMBEDDING, "Q4_K"),
        "attn_v": (kv, _EMBEDDING, finer),
        "attn_output": (_EMBEDDING, _EMBEDDING, "Q4_K"),
        "ffn_gate": (_FEED_FORWARD, _EMBEDDING, "Q4_K"),
        "ffn_up": (_FEED_FORWARD, _EMBEDDING, "Q4_K"),
        "ffn_down": (_EMBEDDING, _FEED_FORWARD, finer),
    }
    for name in ("attn_norm", "ffn_norm"):
        yield Tensor(name=f"blk.{number}.{name}.weight", rows=_EMBEDDING)
    for name, (rows, columns, kind) in matrices.items():
        yield Tensor(name=f"blk.{number}.{name}.weight", rows=rows, columns=columns, kind=kind)


def _uses_more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2


def block_bytes(kind: str) -> int:
    """The size of a block of 256 weights."""
    return {"Q4_K": 144, "Q6_K": 210}[kind]


def filled(tensor: Tensor, rolls: np.random.Generator) -> NDArray[Any]:
    """Its data: ones, or blocks of random bits with small scales, a row after the other."""
    if tensor.kind == "F32":
        return np.ones(tensor.rows, dtype=np.float32)
    count, size = tensor.rows * tensor.columns // _BLOCK, block_bytes(tensor.kind)
    blocks = np.frombuffer(rolls.bytes(count * size), dtype=np.uint8).reshape(count, size).copy()
    if tensor.kind == "Q4_K":
        blocks[:, :4] = _as_bytes(_Q4_SCALE, _Q4_MIDDLE)
    else:
        blocks[:, -2:] = _as_bytes(_Q6_SCALE)
    return blocks.reshape(tensor.rows, -1)


def _as_bytes(*values: float) -> Bytes:
    return np.array(values, dtype=np.float16).view(np.uint8)


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--layers", type=int, default=_LAYERS, help="fewer make a smaller one")
    parser.add_argument("--base", type=Path, default=locate(_BASE).path, help="whose tokenizer")
    arguments = parser.parse_args()
    llama_server()
    sys.path.append(str(source() / "gguf-py"))
    _write(arguments.file, arguments.base, arguments.layers)


def _write(file: Path, base: Path, layers: int) -> None:
    import gguf  # type: ignore[import-not-found]  # of the unpacked source

    reader = gguf.GGUFReader(base)
    writer = gguf.GGUFWriter(file, "llama")
    _describe(writer, reader, layers)
    vocabulary = len(reader.fields["tokenizer.ggml.tokens"].contents())
    every = list(tensors(layers, vocabulary))
    for tensor in every:
        _announce(writer, tensor, gguf.GGMLQuantizationType)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rolls = np.random.default_rng(1)
    for tensor in every:
        writer.write_tensor_data(filled(tensor, rolls))
    writer.close()


def _describe(writer: Any, reader: Any, layers: int) -> None:
    for name, field in reader.fields.items():
        if name.startswith("tokenizer."):
            sub_type = field.types[1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type)
    writer.add_name("Random weights")
    writer.add_file_type(_FILE_TYPE_Q4_K_M)
    writer.add_quantization_version(2)
    writer.add_vocab_size(len(reader.fields["tokenizer.ggml.tokens"].contents()))
    writer.add_block_count(layers)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_feed_forward_length(_FEED_FORWARD)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_rope_freq_base(_ROPE_BASE)
    writer.add_layer_norm_rms_eps(_EPSILON)


def _announce(writer: Any, tensor: Tensor, types: Any) -> None:
    if tensor.kind == "F32":
        shape, size, type_ = (tensor.rows,), 4 * tensor.rows, None
        writer.add_tensor_info(tensor.name, shape, np.dtype(np.float32), size, type_)
        return
    row_bytes = tensor.columns // _BLOCK * block_bytes(tensor.kind)
    writer.add_tensor_info(
        tensor.name,
        (tensor.rows, row_bytes),
        np.dtype(np.uint8),
        tensor.rows * row_bytes,
        types[tensor.kind],
    )


if __name__ == "__main__":
    main()
