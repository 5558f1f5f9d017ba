"""A grammar at work on one sequence: which token may come next, which must. No llama.cpp here.

The model samples freely; the one token it chose is checked (5 to 14 microseconds), and only if
it is refused is the mask over the vocabulary computed (100 to 1 200).
"""

from __future__ import annotations

import llguidance
import numpy as np
import numpy.typing as npt

from fallback.core.errors import BadRequest, EngineError
from fallback.core.ports import Grammar


class Constraint:
    """One grammar, and how far the output has come in it."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, grammar: Grammar) -> None:
        """Raises `BadRequest` for a grammar that cannot be compiled."""
        self._matcher = llguidance.LLMatcher(tokenizer, grammar.lark, log_level=0)
        if self._matcher.is_error():
            raise BadRequest(f"the output grammar is not usable: {self._matcher.get_error()}")

    @property
    def finished(self) -> bool:
        """Whether nothing but the end can follow."""
        return self._matcher.is_stopped()

    @property
    def may_end(self) -> bool:
        """Whether the output is whole as it stands."""
        return self._matcher.is_accepting()

    def admits(self, token: int) -> bool:
        """Whether the token may come next."""
        return self._matcher.validate_tokens([token]) == 1

    def mask(self) -> npt.NDArray[np.bool_]:
        """Shape (vocabulary rounded up to 32,): which tokens may come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        return np.unpackbits(bits, bitorder="little").astype(np.bool_)

    def accept(self, token: int) -> None:
        """Go on with an admitted token. Raises `EngineError` if the grammar's limits are hit."""
        if not self._matcher.consume_token(token):
            raise EngineError(f"the output grammar failed: {self._matcher.get_error()}")

    def accept_prefix(self, tokens: list[int]) -> None:
        """Count what the client already has as written. Raises `EngineError` if it cannot be."""
        if tokens and not self._matcher.consume_tokens(tokens):
            raise EngineError("the text already sent does not follow the output grammar")

    def take_forced(self, limit: int) -> tuple[int, ...]:
        """Accept and return what must follow, at most `limit` tokens."""
        forced = [] if self.finished else self._matcher.compute_ff_tokens()[:limit]
        if forced and not self._matcher.consume_tokens(forced):
            raise EngineError(f"the output grammar failed: {self._matcher.get_error()}")
        return tuple(forced)
