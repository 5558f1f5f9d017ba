"""Random JSON that a grammar admits, and an independent judge of it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import llguidance
import numpy as np
from jsonschema.validators import validator_for  # type: ignore[import-untyped]

BYTES = llguidance.LLTokenizer("byte")
_CLOSING = frozenset(b'"}],:')
_PATIENCE = 300


def matcher(schema: Mapping[str, Any]) -> llguidance.LLMatcher:
    """A matcher of compact JSON by the schema, over single bytes."""
    options = {"whitespace_flexible": False}
    text = json.dumps({**schema, "x-guidance": options})
    return llguidance.LLMatcher(BYTES, f"start: %json {text}", log_level=0)


def admits(schema: Mapping[str, Any], value: object) -> bool:
    """Whether the value, written compactly, is whole by the schema's grammar."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    follower, tokens = matcher(schema), BYTES.tokenize_str(text)
    assert not follower.is_error(), follower.get_error()
    return follower.validate_tokens(tokens) == len(tokens) and (
        follower.consume_tokens(tokens) and follower.is_accepting()
    )


def is_valid(schema: Mapping[str, Any], value: object) -> bool:
    """The judgement of the `jsonschema` library, formats included."""
    kind = validator_for(schema, jsonschema.Draft202012Validator)
    return bool(kind(schema, format_checker=kind.FORMAT_CHECKER).is_valid(value))


def walk(follower: llguidance.LLMatcher, rng: random.Random, limit: int = 1000) -> str | None:
    """A text that the grammar admits, chosen byte by byte; None if it comes to no end."""
    text = bytearray()
    while len(text) < limit:
        if follower.is_stopped():
            return text.decode()
        allowed = np.flatnonzero(_mask(follower))
        ending = [token for token in allowed if token > 0xFF]
        chars = [int(token) for token in allowed if token <= 0xFF]
        if ending and (not chars or rng.random() < 0.5):
            return text.decode()
        char = _choice(chars, rng, patient=len(text) < _PATIENCE)
        if not follower.consume_token(char):
            return None
        text.append(char)
    return None


def _choice(chars: list[int], rng: random.Random, *, patient: bool) -> int:
    closing = [char for char in chars if char in _CLOSING]
    if closing and rng.random() < (0.3 if patient else 0.95):
        return rng.choice(closing)
    return rng.choice([char for char in chars if 0x20 <= char < 0x7F] or chars)


def _mask(follower: llguidance.LLMatcher) -> np.ndarray[Any, np.dtype[np.uint8]]:
    bits = np.frombuffer(follower.compute_bitmask(), dtype=np.uint8)
    return np.unpackbits(bits, bitorder="little")
