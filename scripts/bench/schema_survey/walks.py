"""Random texts that a grammar admits, and an independent judge of them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import llguidance
import numpy as np
import numpy.typing as npt
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

from fallback.core.grammar_text import engine_text
from fallback.core.ports import Grammar, GrammarPart

_CLOSING = frozenset(b'"}],:')
_PATIENCE = 300


def json_grammar(schema: Mapping[str, Any]) -> Grammar:
    """Compact JSON by a schema that the engine can keep."""
    text = json.dumps({**schema, "x-guidance": {"whitespace_flexible": False}})
    part = GrammarPart(rule="output", about="the output's schema", body=f"%json {text}")
    return Grammar(lark="start: output\n", parts=(part,))


def matcher(tokenizer: llguidance.LLTokenizer, schema: Mapping[str, Any]) -> llguidance.LLMatcher:
    """A follower of that grammar, at its beginning; it may be in error."""
    return llguidance.LLMatcher(tokenizer, engine_text(json_grammar(schema)), log_level=0)


def admits(
    tokenizer: llguidance.LLTokenizer, follower: llguidance.LLMatcher, value: object
) -> bool:
    """Whether the value, written compactly, is a whole output."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    tokens, copy = tokenizer.tokenize_str(text), follower.deep_copy()
    whole = copy.validate_tokens(tokens) == len(tokens)
    return whole and copy.consume_tokens(tokens) and copy.is_accepting()


class Judge:
    """The `jsonschema` library's opinion by one schema, formats included."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        kind = validator_for(schema, jsonschema.Draft202012Validator)
        self._validator = kind(schema, format_checker=kind.FORMAT_CHECKER)

    def complaint(self, value: object) -> str:
        """What is wrong with the value; empty if nothing is."""
        error = next(self._validator.iter_errors(value), None)
        if error is None:
            return ""
        place = "/".join(map(str, error.absolute_schema_path))
        return f"{place}: {error.message[:120]}"


class Walker:
    """Chooses tokens of one vocabulary at random; after a while those that close values."""

    def __init__(self, tokenizer: llguidance.LLTokenizer) -> None:
        self._tokenizer = tokenizer
        texts = [tokenizer.decode_bytes([token]) for token in range(tokenizer.vocab_size)]
        special = [tokenizer.is_special_token(token) for token in range(len(texts))]
        self._closing = _marked(bool(text) and _CLOSING.issuperset(text) for text in texts)
        self._plain = _marked(text.isascii() and text.decode().isprintable() for text in texts)
        self._special = _marked(special)

    def walk(self, follower: llguidance.LLMatcher, rng: random.Random, limit: int) -> str | None:
        """A text that the grammar admits; None if it comes to no end within `limit` tokens."""
        tokens: list[int] = []
        while len(tokens) < limit:
            if follower.is_stopped():
                break
            allowed = self._allowed(follower)
            if follower.is_accepting() and (not allowed.any() or rng.random() < 0.5):
                break
            if not allowed.any():
                return None
            token = self._choice(allowed, rng, patient=len(tokens) < _PATIENCE)
            if not follower.consume_token(token):
                return None
            tokens.append(token)
        else:
            return None
        return None if follower.is_error() else self._tokenizer.decode_bytes(tokens).decode()

    def _allowed(self, follower: llguidance.LLMatcher) -> npt.NDArray[np.bool_]:
        bits = np.frombuffer(follower.compute_bitmask(), dtype=np.uint8)
        mask = np.unpackbits(bits, bitorder="little").view(np.bool_)
        return mask[: len(self._special)] & ~self._special

    def _choice(self, allowed: npt.NDArray[np.bool_], rng: random.Random, *, patient: bool) -> int:
        closing = np.flatnonzero(allowed & self._closing)
        if len(closing) and rng.random() < (0.3 if patient else 0.95):
            return int(rng.choice(closing))
        plain = np.flatnonzero(allowed & self._plain)
        return int(rng.choice(plain if len(plain) else np.flatnonzero(allowed)))


def _marked(marks: Any) -> npt.NDArray[np.bool_]:
    return np.fromiter(marks, dtype=np.bool_)
