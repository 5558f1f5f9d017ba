"""llama.cpp through its low-level API: the only file that imports it.

Rules of this file:
- `Model` (weights, vocabulary, metadata) may be used from any thread. `Llama` (the context and
  its sequences) belongs to the decode thread.
- One context for all slots with a unified memory (`kv_unified`): a request may use what the
  others leave free. Never copy a part of a sequence in a split memory: llama.cpp aborts.
- The batch lies in arrays of NumPy's, filled anew for each step; logits are computed only where
  a token is sampled. Python's share is about 2 % of a step.
- Asserts in llama.cpp abort the process. That is why this is a process of its own: what cannot
  be repaired here raises, the worker ends, and the supervisor starts another.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import sys
import threading
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llama_cpp
import llguidance
import numpy as np
import numpy.typing as npt
from llguidance.llamacpp import lltokenizer_from_vocab

from fallback.core.errors import EngineError
from fallback.core.ports import Grammar, ModelIdentity
from fallback.local.settings import WorkerSettings
from fallback.local.worker.constraint import Constraint
from fallback.local.worker.cpu import physical_cores
from fallback.local.worker.modelfile import ModelFileError
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.sampling import PENALTY_TOKENS, SamplerSettings, end_bias, ends_sentence
from fallback.local.worker.scheduler import Chunk, Plan, Sampled

_CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
_GGML_LOG_LEVEL_WARN = 3
_GGML_LOG_LEVEL_CONT = 5
_RANDOM_SEED = 0xFFFFFFFF
_PIECE_BYTES = 128
_TAIL_TOKENS = 4


class Model:
    """Weights, vocabulary and metadata of one GGUF file."""

    def __init__(self, path: Path, *, sha256: str) -> None:
        """Map the file. Raises `ModelFileError` if llama.cpp refuses it or it cannot chat."""
        _log.install()
        self.path = path
        self.sha256 = sha256
        parameters = llama_cpp.llama_model_default_params()
        self.pointer = llama_cpp.llama_model_load_from_file(bytes(path), parameters)
        if not self.pointer:
            raise ModelFileError(
                f"llama.cpp cannot load the model file {path}: {_log.last_error()};"
                f" run `fallback models verify`, then `fallback models pull`"
            )
        self._vocab = llama_cpp.llama_model_get_vocab(self.pointer)
        self.vocabulary_size: int = llama_cpp.llama_vocab_n_tokens(self._vocab)
        self.train_context_tokens: int = llama_cpp.llama_model_n_ctx_train(self.pointer)
        self.end_tokens = tuple(t for t in range(self.vocabulary_size) if self._ends_turn(t))
        self._grammar_lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Model {self.path.name} vocabulary={self.vocabulary_size}>"

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
        return tuple(
            self._piece(token, special=True).decode(errors="replace")
            for token in range(self.vocabulary_size)
            if llama_cpp.llama_vocab_is_control(self._vocab, token)
        )

    def identity(self, settings: WorkerSettings, context_tokens: int) -> ModelIdentity:
        """Who answers, for the provenance."""
        return ModelIdentity(
            name=settings.model_name,
            sha256=self.sha256,
            quantization=settings.quantization or self._quantization(),
            context_tokens=context_tokens,
            engine=f"llama.cpp (llama-cpp-python {llama_cpp.__version__})",
        )

    def tokenize_prompt(self, rendered: str) -> list[int]:
        """Tokens of a rendered template: its special tokens count as such, and a beginning is
        added where the model wants one and the template gave none."""
        add_special = not (self.bos and rendered.startswith(self.bos))
        return self._tokenize(rendered, add_special=add_special, parse_special=True)

    def tokenize_text(self, text: str) -> list[int]:
        """Tokens of plain text; what looks like a special token stays text."""
        return self._tokenize(text, add_special=False, parse_special=False)

    def text_bytes(self, tokens: Iterable[int]) -> bytes:
        """The UTF-8 of tokens; special tokens have none, and a character may be cut at an end."""
        return b"".join(self._piece(token, special=False) for token in tokens)

    def closing_tokens(self) -> list[int]:
        """The tokens that only close a JSON string, object or array."""
        texts = (bytes(text) for n in (1, 2, 3) for text in itertools.product(b'"]}', repeat=n))
        closings = (self.tokenize_text(text.decode()) for text in texts)
        return [tokens[0] for tokens in closings if len(tokens) == 1]

    def constrain(self, grammar: Grammar) -> Constraint:
        """Begin a grammar. Raises `BadRequest` if it cannot be compiled."""
        return Constraint(self.prepare_grammars(), grammar)

    def prepare_grammars(self) -> llguidance.LLTokenizer:
        """llguidance's view of the vocabulary, made once (0.5 s for 49k tokens)."""
        with self._grammar_lock:
            return self._grammar_tokenizer

    @functools.cached_property
    def _grammar_tokenizer(self) -> llguidance.LLTokenizer:
        return lltokenizer_from_vocab(self._vocab, eos_token=list(self.end_tokens))

    def _ends_turn(self, token: int) -> bool:
        return bool(llama_cpp.llama_vocab_is_eog(self._vocab, token))

    def _special_text(self, token: int) -> str:
        return "" if token < 0 else self._piece(token, special=True).decode(errors="replace")

    def _quantization(self) -> str:
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


class Llama:
    """The context and the sequences that live in it."""

    def __init__(self, model: Model, settings: WorkerSettings) -> None:
        """Reserve the memory. Raises `EngineError` if there is not enough of it."""
        self._model = model
        self._batch = _Batch(settings.batch_tokens)
        self._candidates = _Candidates(model.vocabulary_size)
        self._end_tokens = np.array(model.end_tokens, dtype=np.intp)
        self._closing_tokens = np.array(model.closing_tokens(), dtype=np.intp)
        self._sequences: dict[int, _Sequence] = {}
        self._context = llama_cpp.llama_init_from_model(
            model.pointer, _context_parameters(settings)
        )
        if not self._context:
            raise EngineError(
                f"llama.cpp cannot make a context of {settings.context_tokens} tokens:"
                f" {_log.last_error()}; set a smaller one"
            )
        self._memory = llama_cpp.llama_get_memory(self._context)
        self.context_tokens: int = llama_cpp.llama_n_ctx(self._context)

    def __repr__(self) -> str:
        return f"<Llama context_tokens={self.context_tokens} sequences={len(self._sequences)}>"

    def open(self, prepared: Prepared) -> None:
        """Begin a sequence; nothing is computed yet."""
        self._sequences[prepared.id] = _Sequence(prepared, self._model.vocabulary_size)

    def close(self, id: int) -> None:
        """Forget a sequence and free what it holds."""
        sequence = self._sequences.pop(id)
        if sequence.slot is not None:
            llama_cpp.llama_memory_seq_rm(self._memory, sequence.slot, -1, -1)
        sequence.free()

    def run(self, plan: Plan) -> tuple[Sampled, ...]:
        """Compute a step: at most `batch_tokens` tokens. Raises `RuntimeError` when llama.cpp
        fails, after which nothing in the context can be relied on."""
        self._batch.clear()
        sampling = [(chunk.id, self._put(chunk)) for chunk in plan.chunks]
        status = llama_cpp.llama_decode(self._context, self._batch.native())
        if status != 0:
            raise RuntimeError(f"llama_decode gave {status}: {_log.last_error()}")
        return tuple(self._sample(id, index) for id, index in sampling if index is not None)

    def _put(self, chunk: Chunk) -> int | None:
        sequence = self._sequences[chunk.id]
        sequence.slot = chunk.slot
        tokens = sequence.tokens[chunk.start : chunk.stop]
        last = self._batch.add(tokens, chunk.start, chunk.slot, sample=chunk.sample)
        return last if chunk.sample else None

    def _sample(self, id: int, index: int) -> Sampled:
        sequence = self._sequences[id]
        logits = llama_cpp.llama_get_logits_ith(self._context, index)
        self._candidates.load(logits)
        try:
            token = self._choose(sequence)
            ended = token in self._model.end_tokens
            tokens = () if ended else sequence.append(token)
        except EngineError as error:
            return Sampled(id=id, tokens=(), ended=False, failure=error.message)
        return Sampled(id=id, tokens=tokens, ended=ended or sequence.complete)

    def _choose(self, sequence: _Sequence) -> int:
        self._ease(sequence)
        token = self._candidates.draw(sequence.chain)
        constraint = sequence.constraint
        if constraint is None or constraint.admits(token):
            return token
        self._candidates.reload()
        self._ease(sequence)
        self._candidates.keep(constraint.mask())
        return self._candidates.draw(sequence.chain)

    def _ease(self, sequence: _Sequence) -> None:
        """Push an answer that comes near its limit towards its end: the end itself where a
        sentence is over, what closes strings and brackets where the grammar wants more."""
        if not sequence.may_end:
            self._candidates.bias(self._closing_tokens, sequence.closing_bias)
        elif (bias := sequence.end_bias) and self._ends_sentence(sequence):
            self._candidates.bias(self._end_tokens, bias)

    def _ends_sentence(self, sequence: _Sequence) -> bool:
        tail = self._model.text_bytes(sequence.tokens[-_TAIL_TOKENS:])
        return ends_sentence(tail.decode(errors="replace"))


class _Sequence:
    """The tokens of one answer, how they are chosen, and where they lie."""

    def __init__(self, prepared: Prepared, vocabulary_size: int) -> None:
        self.tokens = list(prepared.tokens)
        self.slot: int | None = None
        self.chain = _sampler_chain(prepared.sampler, vocabulary_size)
        self.constraint = prepared.constraint
        self.complete = False
        self._output = len(prepared.forced)
        self._limit = prepared.max_output_tokens
        self._ease_limit = prepared.ease_limit_tokens
        # Penalties count what the client already has, so that a resumed answer goes on as it
        # would have.
        for token in prepared.tokens[prepared.input_tokens :]:
            llama_cpp.llama_sampler_accept(self.chain, token)

    @property
    def may_end(self) -> bool:
        return self.constraint is None or self.constraint.may_end

    @property
    def end_bias(self) -> float:
        return 0.0 if self._ease_limit is None else end_bias(self._output, self._ease_limit)

    @property
    def closing_bias(self) -> float:
        return end_bias(self._output, self._limit)

    def append(self, token: int) -> tuple[int, ...]:
        """Take a chosen token, and what the grammar forces after it: all are new output."""
        forced: tuple[int, ...] = ()
        if self.constraint is not None:
            self.constraint.accept(token)
            forced = self.constraint.take_forced(self._limit - self._output - 1)
            self.complete = self.constraint.finished
        tokens = (token, *forced)
        for each in tokens:
            llama_cpp.llama_sampler_accept(self.chain, each)
        self.tokens += tokens
        self._output += len(tokens)
        return tokens

    def free(self) -> None:
        llama_cpp.llama_sampler_free(self.chain)


class _Batch:
    """A `llama_batch` over arrays of NumPy's, each of `size` tokens."""

    def __init__(self, size: int) -> None:
        self._token = np.zeros(size, dtype=np.int32)
        self._position = np.zeros(size, dtype=np.int32)
        self._sequence_count = np.ones(size, dtype=np.int32)
        self._sequence = np.zeros(size, dtype=np.int32)
        self._logits = np.zeros(size, dtype=np.int8)
        # llama.cpp wants a pointer to each token's sequence ids: here, to its one cell.
        first = self._sequence.ctypes.data
        self._pointers = first + np.arange(size, dtype=np.uintp) * self._sequence.itemsize
        self._count = 0

    def clear(self) -> None:
        self._count = 0

    def add(self, tokens: list[int], position: int, slot: int, *, sample: bool) -> int:
        """Append tokens of one sequence; returns the index of the last."""
        begin, end = self._count, self._count + len(tokens)
        self._token[begin:end] = tokens
        self._position[begin:end] = range(position, position + len(tokens))
        self._sequence[begin:end] = slot
        self._logits[begin:end] = 0
        self._logits[end - 1] = sample
        self._count = end
        return end - 1

    def native(self) -> Any:
        """The struct; it points into this object."""
        int32 = ctypes.POINTER(ctypes.c_int32)
        return llama_cpp.llama_batch(
            n_tokens=self._count,
            token=self._token.ctypes.data_as(int32),
            embd=None,
            pos=self._position.ctypes.data_as(int32),
            n_seq_id=self._sequence_count.ctypes.data_as(int32),
            seq_id=self._pointers.ctypes.data_as(ctypes.POINTER(int32)),
            logits=self._logits.ctypes.data_as(ctypes.POINTER(ctypes.c_int8)),
        )


class _Candidates:
    """The vocabulary with its logits, as the samplers take it. Shape (vocabulary size,)."""

    def __init__(self, size: int) -> None:
        self._ids = np.arange(size, dtype=np.int32)
        self._logits: npt.NDArray[np.float32] = np.zeros(size, dtype=np.float32)
        self._array = np.zeros(size, dtype=_CANDIDATE)
        self._native: Any = llama_cpp.llama_token_data_array()

    def load(self, logits: Any) -> None:
        """Take the logits llama.cpp holds (a pointer, valid until the next step)."""
        self._logits = np.ctypeslib.as_array(logits, shape=self._ids.shape)
        self.reload()

    def reload(self) -> None:
        """Back to the logits as loaded: the samplers sort and cut in place."""
        self._array["id"] = self._ids
        self._array["logit"] = self._logits

    def bias(self, tokens: npt.NDArray[np.intp], logits: float) -> None:
        if logits:
            self._array["logit"][tokens] += logits

    def keep(self, mask: npt.NDArray[np.bool_]) -> None:
        self._array["logit"][~mask[: len(self._ids)]] = -np.inf

    def draw(self, chain: Any) -> int:
        """Sample one token; the chain does not yet count it as said."""
        native = self._native
        native.data = self._array.ctypes.data_as(ctypes.POINTER(llama_cpp.llama_token_data))
        native.size = len(self._array)
        native.selected = -1
        native.sorted = False
        llama_cpp.llama_sampler_apply(chain, ctypes.byref(native))
        return int(native.data[native.selected].id)


class _Log:
    """llama.cpp's log: warnings and errors go to stderr, the last lines are kept."""

    def __init__(self, lines: int) -> None:
        self._last: deque[str] = deque(maxlen=lines)
        self._level = _GGML_LOG_LEVEL_WARN
        # ctypes keeps no reference to a callback: this one must live as long as llama.cpp.
        self._callback = llama_cpp.llama_log_callback(self._take)

    def install(self) -> None:
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def last_error(self) -> str:
        return " / ".join(self._last) or "no reason given"

    def _take(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _GGML_LOG_LEVEL_CONT:
            self._level = level
        if self._level < _GGML_LOG_LEVEL_WARN or not text.strip():
            return
        line = text.decode(errors="replace").strip()
        self._last.append(line)
        sys.stderr.write(line + "\n")


_log = _Log(lines=4)


def _context_parameters(settings: WorkerSettings) -> Any:
    threads = settings.threads or physical_cores()
    parameters = llama_cpp.llama_context_default_params()
    parameters.n_ctx = settings.context_tokens
    parameters.n_batch = settings.batch_tokens
    parameters.n_ubatch = settings.batch_tokens
    parameters.n_seq_max = settings.slots
    parameters.n_outputs_max = settings.slots
    parameters.n_threads = threads
    parameters.n_threads_batch = threads
    parameters.kv_unified = True
    parameters.no_perf = True
    # Off, for at depth it halves the speed of decoding on a CPU; llama.cpp's default is `auto`.
    parameters.flash_attn_type = (
        llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        if settings.flash_attention
        else llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    return parameters


def _sampler_chain(settings: SamplerSettings, vocabulary_size: int) -> Any:
    chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
    for sampler in _samplers(settings, vocabulary_size):
        llama_cpp.llama_sampler_chain_add(chain, sampler)
    return chain


def _samplers(settings: SamplerSettings, vocabulary_size: int) -> Iterable[Any]:
    yield llama_cpp.llama_sampler_init_penalties(
        vocabulary_size,
        PENALTY_TOKENS,
        settings.repeat_penalty,
        settings.frequency_penalty,
        settings.presence_penalty,
    )
    if settings.temperature == 0:
        yield llama_cpp.llama_sampler_init_greedy()
        return
    yield llama_cpp.llama_sampler_init_top_k(settings.top_k)
    yield llama_cpp.llama_sampler_init_top_p(settings.top_p, 1)
    yield llama_cpp.llama_sampler_init_min_p(settings.min_p, 1)
    yield llama_cpp.llama_sampler_init_temp(settings.temperature)
    seed = _RANDOM_SEED if settings.seed is None else settings.seed
    yield llama_cpp.llama_sampler_init_dist(seed)
