"""llguidance's view of a model's vocabulary.

llguidance brings one of its own for llama.cpp. There a token that looks like `<tool_call>` counts
as one that has no text, so that no text may hold it, although Qwen's models write their calls and
their thinking with such tokens. Here only control tokens have no text, as in llama.cpp's own
rendering, and of those not the ones that mean something in an answer (`markup`).
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Collection
from typing import Any

import llama_cpp
import llguidance

_SPECIAL = b"\xff"  # in front of what stands for no text; no UTF-8 has this byte
_PIECE_BYTES = 16 * 1024
_TOKENIZE_TYPE = ctypes.CFUNCTYPE(
    ctypes.c_int32,
    ctypes.c_void_p,
    ctypes.c_void_p,
    ctypes.c_int32,
    ctypes.POINTER(ctypes.c_int32),
    ctypes.c_int32,
    ctypes.c_bool,
    ctypes.c_bool,
)


class GrammarTokens:
    """The vocabulary as grammars see it. Must live as long as its tokenizer is used."""

    def __init__(self, vocab: Any, end_tokens: Collection[int], markup: Collection[str]) -> None:
        """Takes 0.25 s for 49k tokens, 3 s for 262k."""
        pieces = _pieces(vocab)
        texts = {text.encode() for text in markup}
        control = {token for token, (_, controls) in enumerate(pieces) if controls}
        marks = {pieces[token][0]: token for token in control if pieces[token][0] in texts}
        steering = frozenset(control.difference(marks.values()))
        # llama.cpp reads control tokens in a text only on demand, and then all of them.
        self._tokenize = _tokenize_with(marks, steering) if marks else None
        self.tokenizer: llguidance.LLTokenizer = llguidance.LLTokenizer.from_llamacpp(  # type: ignore[attr-defined]
            tokens=[
                _SPECIAL + piece if token in steering else piece
                for token, (piece, _) in enumerate(pieces)
            ],
            vocab_ptr=vocab,
            tokenize_fptr=_address(self._tokenize or llama_cpp.llama_cpp._lib.llama_tokenize),
            eos_token=list(end_tokens),
        )


def _pieces(vocab: Any) -> list[tuple[bytes, bool]]:
    """For each token its text and whether it is a control token."""
    buffer = ctypes.create_string_buffer(_PIECE_BYTES)
    found = []
    for token in range(llama_cpp.llama_vocab_n_tokens(vocab)):
        length = llama_cpp.llama_token_to_piece(vocab, token, buffer, _PIECE_BYTES, 0, True)
        controls = bool(llama_cpp.llama_vocab_is_control(vocab, token))
        found.append((ctypes.string_at(buffer, max(0, length)), controls))
    return found


def _tokenize_with(marks: Collection[bytes], steering: frozenset[int]) -> Any:
    """`llama_tokenize`, which also reads `marks`, but no token of `steering`."""
    native = llama_cpp.llama_cpp._lib.llama_tokenize
    plain: Callable[..., int] = _TOKENIZE_TYPE(_address(native))

    def tokenize(
        vocab: int, text: int, length: int, tokens: Any, room: int, add: bool, special: bool
    ) -> int:
        data = ctypes.string_at(text, length)
        if any(mark in data for mark in marks):
            count = plain(vocab, text, length, tokens, room, add, True)
            if count < 0 or steering.isdisjoint(tokens[:count]):
                return count
        return plain(vocab, text, length, tokens, room, add, special)

    return _TOKENIZE_TYPE(tokenize)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
