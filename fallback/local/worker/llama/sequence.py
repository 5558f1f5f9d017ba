"""One sequence: its tokens, how the next one is chosen, which are guessed ahead."""

from __future__ import annotations

import llama_cpp

from fallback.local.worker.llama.sampler import sampler_chain
from fallback.local.worker.lookup import Lookup
from fallback.local.worker.prepared import Prepared
from fallback.local.worker.sampling import end_bias

# A prompt's last tokens are computed anew though they are held somewhere: several at once come out
# as they did when the whole prompt was read, which one token alone does not. For llama.cpp
# multiplies one row in attention by another kernel than several; the difference is mostly lost in
# the quantization that follows, but not always. Four, as its widest kernels take four rows. So an
# answer at temperature 0 does not depend on what was asked before (without flash attention, which
# rounds by the number of threads and tokens).
_FRESH_TOKENS = 4


class Sequence:
    """The tokens of one answer, how they are chosen, and how many lie computed in `slot`."""

    def __init__(self, prepared: Prepared, vocabulary_size: int) -> None:
        self.id = prepared.id
        self.tokens = list(prepared.tokens)
        self.slot: int | None = None
        self.computed = 0
        self.greedy = prepared.sampler.is_argmax
        self.among = prepared.sampler.among
        self.chain = sampler_chain(prepared.sampler, vocabulary_size)
        self.constraint = prepared.constraint
        self.complete = False
        self._lookup: Lookup | None = None
        self._prompt_tokens = len(prepared.tokens)
        self._output = len(prepared.forced)
        self._limit = prepared.max_output_tokens
        self._ease_limit = prepared.ease_limit_tokens
        # Penalties count what the client already has, so that a resumed answer goes on as it
        # would have.
        for token in prepared.tokens[prepared.input_tokens :]:
            llama_cpp.llama_sampler_accept(self.chain, token)

    def __repr__(self) -> str:
        return f"<Sequence slot={self.slot} computed={self.computed}/{len(self.tokens)}>"

    @property
    def beginning(self) -> list[int]:
        """The tokens that need not be computed where they are held: but for the last, all of an
        answer that was interrupted, and of a prompt what a fresh end leaves."""
        if len(self.tokens) > self._prompt_tokens:
            return self.tokens
        return self.tokens[: max(1, len(self.tokens) - _FRESH_TOKENS + 1)]

    @property
    def may_end(self) -> bool:
        """Whether the output is whole as it stands."""
        return self.constraint is None or self.constraint.may_end

    @property
    def end_bias(self) -> float:
        """Logits to add to the end of the answer."""
        return 0.0 if self._ease_limit is None else end_bias(self._output, self._ease_limit)

    @property
    def closing_bias(self) -> float:
        """Logits to add to what closes strings and brackets."""
        return end_bias(self._output, self._limit)

    @property
    def matched(self) -> int:
        """How many of the last tokens were said before in this order; see `Lookup`."""
        if self._lookup is None:
            self._lookup = Lookup(self.tokens)
        return self._lookup.matched

    def draft(self, limit: int) -> tuple[int, ...]:
        """Up to `limit` tokens that may well come next, as far as the grammar admits them."""
        if limit < 1 or not self.matched:
            return ()
        assert self._lookup is not None
        guessed = self._lookup.draft(limit)
        return guessed if self.constraint is None else guessed[: self.constraint.admitted(guessed)]

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
        if self._lookup is not None:
            self._lookup.append(tokens)
        return tokens

    def free(self) -> None:
        """Give back what is llama.cpp's."""
        llama_cpp.llama_sampler_free(self.chain)
