"""The context: the sequences that run, and the steps of the model. The decode thread's."""

from __future__ import annotations

import llama_cpp
import numpy as np

from fallback.core.errors import EngineError
from fallback.local.worker.llama.batch import Batch
from fallback.local.worker.llama.log import log
from fallback.local.worker.llama.model import Model
from fallback.local.worker.llama.parameters import context_parameters
from fallback.local.worker.llama.sampler import Candidates, sampler_chain
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.sampling import end_bias, ends_sentence
from fallback.local.worker.scheduler import Chunk, Plan, Sampled
from fallback.local.worker.tuning import Tuning

_TAIL_TOKENS = 4


class Llama:
    """The context and the sequences that live in it."""

    def __init__(self, model: Model, tuning: Tuning) -> None:
        """Reserve the memory. Raises `EngineError` if there is not enough of it."""
        self._model = model
        self._batch = Batch(tuning.batch_tokens)
        self._candidates = Candidates(model.vocabulary_size)
        self._end_tokens = np.array(model.end_tokens, dtype=np.intp)
        self._closing_tokens = np.array(model.closing_tokens(), dtype=np.intp)
        self._sequences: dict[int, _Sequence] = {}
        self._context = llama_cpp.llama_init_from_model(
            model.pointer, context_parameters(tuning, outputs=tuning.slots)
        )
        if not self._context:
            raise EngineError(
                f"llama.cpp cannot make a context of {tuning.context_tokens} tokens:"
                f" {log.last_error()}; set a smaller one"
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
            raise RuntimeError(f"llama_decode gave {status}: {log.last_error()}")
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
        self.chain = sampler_chain(prepared.sampler, vocabulary_size)
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
