"""A grammar at work on one sequence: which token may come next, which must. No llama.cpp here.

The model samples freely; the one token it chose is checked (1 to 14 microseconds), and only if
it is refused is the mask over the vocabulary computed (20 to 1 200).

Copies of a compiled grammar share its lexer, whose states are computed as they are needed: what
one answer has paid for the next has for nothing. But they share its limits, too, and an error of
one is an error of all. So a constraint that fails starts once again on a lexer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence

import llguidance
import numpy as np
import numpy.typing as npt

from fallback.core.errors import EngineError
from fallback.local.worker.compiled import CompiledGrammar


class Constraint:
    """One grammar, and how far the output has come in it."""

    def __init__(self, grammar: CompiledGrammar) -> None:
        self._grammar = grammar
        self._matcher: llguidance.LLMatcher = grammar.matcher()
        self._accepted: list[int] = []
        self._renewed = False

    def __repr__(self) -> str:
        return f"<Constraint accepted={len(self._accepted)} finished={self.finished}>"

    @property
    def loosened(self) -> tuple[str, ...]:
        """What the output is not held to, in words."""
        return self._grammar.loosened

    @property
    def finished(self) -> bool:
        """Whether nothing but the end can follow."""
        return self._matcher.is_stopped() and not self._matcher.is_error()

    @property
    def may_end(self) -> bool:
        """Whether the output is whole as it stands."""
        return self._matcher.is_accepting()

    def admits(self, token: int) -> bool:
        """Whether the token may come next."""
        return self._matcher.validate_tokens([token]) == 1

    def admitted(self, tokens: Sequence[int]) -> int:
        """How many of the tokens may come next, one after the other; none is accepted yet."""
        return self._matcher.validate_tokens(list(tokens))

    def mask(self) -> npt.NDArray[np.bool_]:
        """Shape (vocabulary rounded up to 32,): which tokens may come next. Raises `EngineError`
        if the grammar's limits are hit."""
        bits = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            self._renew()
            bits = self._matcher.compute_bitmask()
            self._refuse_error()
        unpacked = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")
        return unpacked.view(np.bool_)

    def accept(self, token: int) -> None:
        """Go on with an admitted token. Raises `EngineError` if the grammar's limits are hit."""
        self._consume([token])

    def accept_prefix(self, tokens: list[int]) -> None:
        """Count what the client already has as written. Raises `EngineError` if it cannot be."""
        if self.admitted(tokens) != len(tokens):
            raise EngineError("the text already sent does not follow the output grammar")
        self._consume(tokens)

    def take_forced(self, limit: int) -> tuple[int, ...]:
        """Accept and return what must follow, at most `limit` tokens."""
        forced = [] if self.finished else self._matcher.compute_ff_tokens()[:limit]
        self._consume(forced)
        return tuple(forced)

    def _consume(self, tokens: list[int]) -> None:
        if tokens and not self._matcher.consume_tokens(tokens):
            self._renew()
            self._matcher.consume_tokens(tokens)
            self._refuse_error()
        self._accepted += tokens

    def _renew(self) -> None:
        """Come to the same point once more, on a lexer that nobody has used up."""
        if self._renewed:
            self._refuse_error()
        self._renewed = True
        self._matcher = self._grammar.fresh_matcher()
        self._matcher.consume_tokens(self._accepted)

    def _refuse_error(self) -> None:
        if self._matcher.is_error():
            reason = self._matcher.get_error().partition("\n")[0]
            raise EngineError(f"the output grammar failed: {reason}")
