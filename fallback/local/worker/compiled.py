"""Grammars compiled for one vocabulary, and kept: a client sends the same tools with each turn.

Compiling costs 1 to 15 ms for what clients send (scripts/bench/schemas.py measures it), a copy
of what is compiled 1 microsecond.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import llguidance

from fallback.core.errors import BadRequest
from fallback.core.grammar_text import engine_text, part_text
from fallback.core.ports import Grammar, GrammarPart

# Lexer states take 1 to 2 kB each and are shared by all copies of a grammar; fuel is spent on new
# ones, at about 50 000 a millisecond, and is not filled up again while tokens are only checked. A
# grammar of 100 000 symbols compiles in 1.5 s.
LIMITS = llguidance.LLParserLimits(
    initial_lexer_fuel=10_000_000,
    max_lexer_states=50_000,
    max_grammar_size=100_000,
    verbose_errors=False,
)
_KEPT_GRAMMARS = 32
_REASON_CHARS = 300


class CompiledGrammar:
    """A grammar that is ready to be followed by any number of sequences."""

    def __init__(
        self,
        tokenizer: llguidance.LLTokenizer,
        grammar: Grammar,
        limits: llguidance.LLParserLimits = LIMITS,
    ) -> None:
        """Raises `BadRequest` for a grammar that cannot be compiled."""
        self._tokenizer = tokenizer
        self._limits = limits
        self.loosened = grammar.loosened
        self._text = engine_text(grammar)
        self._pristine = self._compile()
        if self._pristine.is_error():
            self._replace_unusable_parts(grammar)
        self._used_up = False

    def matcher(self) -> llguidance.LLMatcher:
        """A matcher at the beginning; it shares the lexer with the others."""
        if self._used_up:
            self._pristine, self._used_up = self._compile(), False
        return self._pristine.deep_copy()

    def fresh_matcher(self) -> llguidance.LLMatcher:
        """A matcher at the beginning that shares nothing, for a sequence that found the shared
        lexer at its limits; those that begin later will find a new one."""
        self._used_up = True
        return self._compile()

    def _compile(self) -> llguidance.LLMatcher:
        return llguidance.LLMatcher(self._tokenizer, self._text, log_level=0, limits=self._limits)

    def _replace_unusable_parts(self, grammar: Grammar) -> None:
        instead: dict[str, str] = {}
        for part in grammar.parts:
            if not (reason := _unusable(part)):
                continue
            if part.instead is None:
                raise BadRequest(f"{part.about} cannot be held to: {reason}")
            instead[part.rule] = part.instead
            self.loosened += (f"{part.about}: {reason}",)
        self._text = engine_text(grammar, instead)
        self._pristine = self._compile()
        if self._pristine.is_error():
            raise BadRequest(f"the output grammar is not usable: {_reason(self._pristine)}")


class GrammarCache:
    """The grammars used last. May be used from any thread."""

    def __init__(self, tokenizer: llguidance.LLTokenizer, size: int = _KEPT_GRAMMARS) -> None:
        self.tokenizer = tokenizer
        self._size = size
        self._lock = threading.Lock()
        self._kept: OrderedDict[Grammar, CompiledGrammar] = OrderedDict()

    def __repr__(self) -> str:
        return f"<GrammarCache kept={len(self._kept)}/{self._size}>"

    def compiled(self, grammar: Grammar) -> CompiledGrammar:
        """Raises `BadRequest` for a grammar that cannot be compiled."""
        with self._lock:
            found = self._kept.get(grammar) or CompiledGrammar(self.tokenizer, grammar)
            self._kept[grammar] = found
            self._kept.move_to_end(grammar)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
            return found


def _unusable(part: GrammarPart) -> str:
    """Why llguidance refuses this part; empty if it does not."""
    error = llguidance.LLMatcher.validate_grammar(part_text(part), limits=LIMITS)
    return "" if error.startswith("WARNING") else _short(error)


def _reason(matcher: llguidance.LLMatcher) -> str:
    return _short(matcher.get_error())


def _short(error: str) -> str:
    return " ".join(error.partition("<state>")[0].split())[:_REASON_CHARS]
