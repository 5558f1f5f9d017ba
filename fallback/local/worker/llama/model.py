"""Weights, vocabulary and metadata of a GGUF file. May be used from any thread."""

from __future__ import annotations

import ctypes
import functools
import itertools
import re
import threading
from collections.abc import Iterable
from pathlib import Path

import llama_cpp
import numpy as np

from fallback.core.errors import EngineError
from fallback.core.ports import Grammar, ModelIdentity
from fallback.core.tool_formats.plain import any_of
from fallback.local.settings import WorkerSettings
from fallback.local.worker.compiled import GrammarCache
from fallback.local.worker.constraint import Constraint
from fallback.local.worker.llama.grammar_tokens import GrammarTokens
from fallback.local.worker.llama.log import log
from fallback.local.worker.llama.parameters import model_parameters
from fallback.local.worker.modelfile import ModelFileError

_PIECE_BYTES = 128


class Model:
    """Weights, vocabulary and metadata of one GGUF file."""

    def __init__(
        self,
        path: Path,
        *,
        sha256: str,
        gpu_layers: int = -1,
        requantized_from: str | None = None,
    ) -> None:
        """Map the file, with so many layers on a GPU (-1: all). `requantized_from` is what this
        machine made it of. Raises `ModelFileError` if llama.cpp refuses it or it cannot chat."""
        log.install()
        self.path = path
        self.sha256 = sha256
        self.requantized_from = requantized_from
        self.pointer = llama_cpp.llama_model_load_from_file(
            bytes(path), model_parameters(gpu_layers, repacked=requantized_from is not None)
        )
        if not self.pointer:
            raise ModelFileError(
                f"llama.cpp cannot load the model file {path}: {log.last_error()};"
                f" run `fallback models verify`, then `fallback models pull`"
            )
        self._vocab = llama_cpp.llama_model_get_vocab(self.pointer)
        self.vocabulary_size: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.train_context_tokens: int = llama_cpp.llama_model_n_ctx_train(self.pointer)
        self.end_tokens = tuple(t for t in range(self.vocabulary_size) if self._ends_turn(t))
        self.markup: frozenset[str] = frozenset()
        self._grammar_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Model {self.path.name} vocabulary={self.vocabulary_size}>"

    def close(self) -> None:
        """Free the weights; nothing of this model may be used any more."""
        llama_cpp.llama_model_free(self.pointer)

    @property
    def engine(self) -> str:
        """What computes."""
        return f"llama.cpp (llama-cpp-python {llama_cpp.__version__})"

    @property
    def cuttable(self) -> bool:
        """Whether the memory of a sequence can be cut back to any of its tokens."""
        recurrent = llama_cpp.llama_model_is_recurrent(self.pointer)
        return not (recurrent or llama_cpp.llama_model_is_hybrid(self.pointer))

    @property
    def savable(self) -> bool:
        """Whether the state of a sequence has the one layout that `kv.py` knows: models with a
        sliding window have two memories."""
        return int(llama_cpp.llama_model_n_swa(self.pointer)) == 0

    @property
    def chat_template(self) -> str:
        """The model's own template (Jinja). Raises `ModelFileError` if it brings none."""
        template = llama_cpp.llama_model_chat_template(self.pointer, None)
        if not template:
            raise ModelFileError(
                f"the model file {self.path} has no chat template: it is no chat model;"
                f" choose another in `fallback models list`"
            )
        return str(template, "utf-8")

    @property
    def bos(self) -> str:
        """The text of the token that begins a sequence; empty if there is none."""
        return self._special_text(llama_cpp.llama_vocab_bos(self._vocab))

    @property
    def eos(self) -> str:
        """The text of the token that ends a sequence; empty if there is none."""
        return self._special_text(llama_cpp.llama_vocab_eos(self._vocab))

    @property
    def control_texts(self) -> tuple[str, ...]:
        """The texts of the tokens that steer the model, such as the end of a turn."""
        return tuple(self._control)

    @functools.cached_property
    def _control(self) -> dict[str, int]:
        return {
            self._piece(token, special=True).decode(errors="replace"): token
            for token in range(self.vocabulary_size)
            if llama_cpp.llama_vocab_is_control(self._vocab, token)
        }

    @functools.cached_property
    def _marks(self) -> dict[str, int]:
        """The control tokens that are `markup`, which is known by the first answer."""
        return {text: token for text, token in self._control.items() if text in self.markup}

    def identity(self, settings: WorkerSettings, context_tokens: int) -> ModelIdentity:
        """Who answers, for the provenance."""
        return ModelIdentity(
            name=settings.model_name,
            sha256=self.sha256,
            quantization=self._told_quantization(settings.quantization),
            requantized_from=self.requantized_from,
            context_tokens=context_tokens,
            engine=self.engine,
        )

    def tokenize_prompt(self, rendered: str) -> list[int]:
        """Tokens of a rendered template: its special tokens count as such, and a beginning is
        added where the model wants one and the template gave none."""
        add_special = not (self.bos and rendered.startswith(self.bos))
        return self._tokenize(rendered, add_special=add_special, parse_special=True)

    def tokenize_text(self, text: str) -> list[int]:
        """Tokens of plain text; what looks like a special token stays text."""
        return self._tokenize(text, add_special=False, parse_special=False)

    def tokenize_answer(self, text: str) -> list[int]:
        """Tokens of what the model wrote, or would have: its markup counts, all else is plain."""
        marks = self._marks
        parts = re.split(f"({any_of(marks).pattern})", text) if marks else [text]
        tokens = ([marks[part]] if part in marks else self.tokenize_text(part) for part in parts)
        return list(itertools.chain.from_iterable(tokens))

    def text_bytes(self, tokens: Iterable[int]) -> bytes:
        """The UTF-8 of tokens; special tokens but markup have none, and a character may be cut at
        an end."""
        marks = self._marks.values()
        return b"".join(self._piece(token, special=token in marks) for token in tokens)

    def closing_tokens(self) -> list[int]:
        """The tokens that only close a JSON string, object or array."""
        texts = (bytes(text) for n in (1, 2, 3) for text in itertools.product(b'"]}', repeat=n))
        closings = (self.tokenize_text(text.decode()) for text in texts)
        return [tokens[0] for tokens in closings if len(tokens) == 1]

    def constrain(self, grammar: Grammar) -> Constraint:
        """Begin a grammar. Raises `BadRequest` if it cannot be compiled."""
        return Constraint(self.prepare_grammars().compiled(grammar))

    def prepare_grammars(self) -> GrammarCache:
        """Compiled grammars over llguidance's view of the vocabulary, which is made once."""
        with self._grammar_lock:
            return self._grammars

    @functools.cached_property
    def _grammars(self) -> GrammarCache:
        self._grammar_tokens = GrammarTokens(self._vocab, self.end_tokens, self.markup)
        return GrammarCache(self._grammar_tokens.tokenizer)

    def _ends_turn(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def _special_text(self, token: int) -> str:
        return "" if token < 0 else self._piece(token, special=True).decode(errors="replace")

    def _told_quantization(self, told: str | None) -> str:
        """What was told is true of the file that was given, not of one made of it."""
        return self.quantization if self.requantized_from else told or self.quantization

    @property
    def quantization(self) -> str:
        """What the file says of itself, such as "Q4_0"."""
        names = {
            value: name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_")
            for name, value in vars(llama_cpp).items()
            if name.startswith("LLAMA_FTYPE_")
        }
        return names.get(int(self._metadata("general.file_type") or -1), "unknown")

    def _metadata(self, key: str) -> str:
        buffer = ctypes.create_string_buffer(256)
        length = llama_cpp.llama_model_meta_val_str(self.pointer, key.encode(), buffer, len(buffer))
        return buffer.value.decode(errors="replace") if length >= 0 else ""

    def _tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        # No token is shorter than a byte; the rest is for what the model adds at both ends.
        tokens = np.empty(len(data) + 8, dtype=np.int32)
        pointer = tokens.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token))
        count = llama_cpp.llama_tokenize(
            self._vocab, data, len(data), pointer, len(tokens), add_special, parse_special
        )
        if count < 0:
            raise EngineError(f"llama.cpp cannot tokenize a text of {len(data)} bytes")
        return [int(token) for token in tokens[:count]]

    def _piece(self, token: int, *, special: bool, size: int = _PIECE_BYTES) -> bytes:
        buffer = ctypes.create_string_buffer(size)
        length = llama_cpp.llama_token_to_piece(self._vocab, token, buffer, size, 0, special)
        if length < 0:
            return self._piece(token, special=special, size=-length)
        return buffer.raw[:length]
