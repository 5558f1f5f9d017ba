"""The context: the sequences that run, and the steps of the model. The decode thread's.

The memory is split into slots of equal size, one for each sequence that runs, so that attention
looks at what is a sequence's own; who runs beside it matters only by the rounding of kernels for
batches of another size. The number of slots changes with what is asked (`reshape`): one large one,
or several small ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import llama_cpp
import msgspec
import numpy as np

from fallback.core.errors import EngineError
from fallback.local.worker.drafting import Drafting
from fallback.local.worker.llama.batch import Batch
from fallback.local.worker.llama.kv import KvMemory
from fallback.local.worker.llama.log import log
from fallback.local.worker.llama.model import Model
from fallback.local.worker.llama.parameters import context_parameters
from fallback.local.worker.llama.sampler import Candidates
from fallback.local.worker.llama.sequence import Sequence
from fallback.local.worker.prefix_cache import PrefixCache
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.residence import Blob, Residence
from fallback.local.worker.sampling import ends_sentence
from fallback.local.worker.steps import Chunk, Plan, Sampled
from fallback.local.worker.tuning import Tuning

_TAIL_TOKENS = 4


class _Row(NamedTuple):
    """Where in the batch a chunk's logits begin, and what was guessed to follow it."""

    chunk: Chunk
    sequence: Sequence
    first: int
    drafts: tuple[int, ...]


class Llama:
    """The context and the sequences that live in it; `cache` and `read` are those of the
    `Residence` made here."""

    def __init__(
        self,
        model: Model,
        tuning: Tuning,
        cache: PrefixCache,
        read: Callable[[str], Blob | None],
        drafting: Drafting,
    ) -> None:
        """Reserve the memory. Raises `EngineError` if there is not enough of it."""
        self._model = model
        self._tuning = tuning
        self._drafting = drafting
        self._batch = Batch(tuning.batch_tokens)
        self._candidates = Candidates(model.vocabulary_size)
        self._end_tokens = np.array(model.end_tokens, dtype=np.intp)
        self._closing_tokens = np.array(model.closing_tokens(), dtype=np.intp)
        self._sequences: dict[int, Sequence] = {}
        self.slots = tuning.slots
        self._context = self._make()
        self._kv = KvMemory(self._context, self.slots)
        self.residence = Residence(cache, self._kv, read)

    def __repr__(self) -> str:
        return f"<Llama slots={self.slots} sequences={len(self._sequences)}>"

    def open(self, prepared: Prepared) -> None:
        """Begin a sequence; nothing is computed yet."""
        self._sequences[prepared.id] = Sequence(prepared, self._model.vocabulary_size)

    def attach(self, id: int, now: float) -> int:
        """Give a sequence a place in memory; how many of its tokens are there already."""
        sequence = self._sequences[id]
        sequence.slot, sequence.computed = self.residence.enter(id, sequence.beginning, now)
        return sequence.computed

    def detach(self, id: int, now: float) -> None:
        """Take a sequence's place from it; what was computed is kept as long as there is room."""
        sequence = self._sequences[id]
        self.residence.leave(id, sequence.tokens[: sequence.computed], now)
        sequence.slot = None

    def close(self, id: int, now: float) -> None:
        """Forget a sequence; its beginning stays for those that begin alike."""
        if self._sequences[id].slot is not None:
            self.detach(id, now)
        self._sequences.pop(id).free()

    def reshape(self, slots: int, now: float) -> dict[int, int]:
        """Split the memory anew. Those that run keep their places; for each, how many of its
        tokens are there. Raises `EngineError` where there is no memory for it."""
        running = [id for id, sequence in self._sequences.items() if sequence.slot is not None]
        for id in running:
            self.detach(id, now)
        self.residence.pack()
        llama_cpp.llama_free(self._context)
        self.slots = slots
        self._context = self._make()
        self._kv = KvMemory(self._context, slots)
        self.residence.move(self._kv, slots)
        return {id: self.attach(id, now) for id in running}

    def state_bytes(self, id: int) -> int:
        """What the state of a sequence takes outside the context."""
        slot = self._sequences[id].slot
        return 0 if slot is None else self._kv.state_bytes(slot)

    def use_threads(self, most: int) -> None:
        """Compute with as many as were chosen, but at most so many."""
        choice = self._tuning.choice
        llama_cpp.llama_set_n_threads(
            self._context, min(choice.threads, most), min(choice.threads_batch, most)
        )

    def run(self, plan: Plan) -> tuple[Sampled, ...]:
        """Compute a step: at most `batch_tokens` tokens, drafts included. Raises `RuntimeError`
        when llama.cpp fails, after which nothing in the context can be relied on."""
        self._batch.clear()
        self._drafting.begin(plan)
        rows = [self._put(chunk) for chunk in plan.chunks]
        status = llama_cpp.llama_decode(self._context, self._batch.native())
        if status != 0:
            raise RuntimeError(f"llama_decode gave {status}: {log.last_error()}")
        sampled = tuple(self._sample(row) for row in rows if row.chunk.sample)
        self._drafting.end(sampled)
        for row in rows:
            self.residence.grown(row.chunk.id, row.sequence.computed)
        return sampled

    def _make(self) -> Any:
        shape = msgspec.structs.replace(self._tuning, slots=self.slots)
        # A row of logits is as long as the vocabulary.
        outputs = self.slots + self._drafting.most_tokens
        context = llama_cpp.llama_init_from_model(
            self._model.pointer, context_parameters(shape, outputs=outputs)
        )
        if not context:
            raise EngineError(
                f"llama.cpp cannot make a context of {self._tuning.context_tokens} tokens:"
                f" {log.last_error()}; set a smaller one"
            )
        return context

    def _put(self, chunk: Chunk) -> _Row:
        sequence = self._sequences[chunk.id]
        assert sequence.slot is not None
        sequence.computed = chunk.stop
        drafts = self._drafting.draft(sequence, chunk.drafts) if chunk.drafts else ()
        tokens = [*sequence.tokens[chunk.start : chunk.stop], *drafts]
        first = self._batch.add(
            tokens, chunk.start, sequence.slot, outputs=len(drafts) + 1 if chunk.sample else 0
        )
        return _Row(chunk, sequence, first, drafts)

    def _sample(self, row: _Row) -> Sampled:
        """Choose the next token, and those after it as long as they are what was guessed."""
        new: list[int] = []
        ended, failure = False, None
        try:
            while not ended and tuple(new) == row.drafts[: len(new)]:
                token = self._choose(row.sequence, row.first + len(new))
                ended = token in self._model.end_tokens
                if not ended:
                    new += row.sequence.append(token)
                    ended = row.sequence.complete
        except EngineError as error:
            failure = error.message
        computed = _common(new, row.drafts)
        self._keep(row.sequence, row.chunk.stop + computed, guessed=len(row.drafts) - computed)
        return Sampled(
            id=row.chunk.id,
            tokens=tuple(new),
            ended=ended,
            failure=failure,
            computed=computed,
            drafted=len(row.drafts),
        )

    def _keep(self, sequence: Sequence, tokens: int, *, guessed: int) -> None:
        """So many tokens lie in the slot; of what was guessed behind them, nothing stays."""
        sequence.computed = tokens
        if guessed:
            assert sequence.slot is not None
            self._kv.cut(sequence.slot, tokens)

    def _choose(self, sequence: Sequence, index: int) -> int:
        candidates, constraint = self._candidates, sequence.constraint
        candidates.load(llama_cpp.llama_get_logits_ith(self._context, index))
        self._ease(sequence)
        token = self._draw(sequence)
        if constraint is None or constraint.admits(token):
            return token
        candidates.reload()
        self._ease(sequence)
        candidates.keep(constraint.mask())
        return self._draw(sequence)

    def _draw(self, sequence: Sequence) -> int:
        return self._candidates.draw(sequence.chain, argmax=sequence.greedy, among=sequence.among)

    def _ease(self, sequence: Sequence) -> None:
        """Push an answer that comes near its limit towards its end: the end itself where a
        sentence is over, what closes strings and brackets where the grammar wants more."""
        if not sequence.may_end:
            self._candidates.bias(self._closing_tokens, sequence.closing_bias)
        elif (bias := sequence.end_bias) and self._ends_sentence(sequence):
            self._candidates.bias(self._end_tokens, bias)

    def _ends_sentence(self, sequence: Sequence) -> bool:
        tail = self._model.text_bytes(sequence.tokens[-_TAIL_TOKENS:])
        return ends_sentence(tail.decode(errors="replace"))


def _common(new: Iterable[int], drafts: Iterable[int]) -> int:
    """How many of the new tokens were guessed, and so lie computed in the memory."""
    same = 0
    for token, draft in zip(new, drafts, strict=False):
        if token != draft:
            break
        same += 1
    return same
