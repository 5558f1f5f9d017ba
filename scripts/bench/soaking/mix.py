"""Who asks for what. Pure: the same seed gives the same requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from engine_peer.chat import question
from engine_peer.prompts import story
from engine_peer.schemas import FORMS

CRITICAL = "critical"
CLIENTS = (CRITICAL, "high", "high", "usual", "usual", "usual", "low", "low")
"""The importance of each client; the rules of `CONFIG` know them by a header."""

HEADER = "x-importance"
CONFIG = """
[[rules]]
match.path = "*"
tiers = ["local"]

[[rules]]
match.header = { x-importance = "critical" }
critical = true

[[rules]]
match.header = { x-importance = "high" }
priority = 10

[[rules]]
match.header = { x-importance = "low" }
priority = -10
"""

_PROMPT_TOKENS = (40, 40, 150, 400, 1500)
_ANSWER_TOKENS = (8, 32, 64, 128)
_CRITICAL_PROMPT_TOKENS, _CRITICAL_ANSWER_TOKENS = 100, 32
_CANCELS, _FORMS = 0.2, 0.2
_PAUSE_S, _CRITICAL_PAUSE_S = 1.0, 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One request: after `pause_s` of thought. The client leaves `patience_s` after it asked,
    None: never."""

    body: dict[str, Any]
    pause_s: float
    patience_s: float | None = None


def wishes(client: int, seed: int) -> Iterator[Wish]:
    """What this client asks for, without end. No two prompts begin alike."""
    rolls = Random(seed * 1000 + client)
    important = CLIENTS[client] == CRITICAL
    for number in range(10**6):
        unique = rolls.randrange(10**9)
        yield (critical(number, rolls) if important else _usual(unique, rolls))


def critical(number: int, rolls: Random) -> Wish:
    """A short question, each of the same length, that nobody leaves."""
    text = story(_CRITICAL_PROMPT_TOKENS, rolls.randrange(10**9))
    return Wish(
        body=question(text, max_tokens=_CRITICAL_ANSWER_TOKENS),
        pause_s=rolls.expovariate(1 / _CRITICAL_PAUSE_S) if number else 0.0,
    )


def _usual(unique: int, rolls: Random) -> Wish:
    body = question(
        story(rolls.choice(_PROMPT_TOKENS), unique), max_tokens=rolls.choice(_ANSWER_TOKENS)
    )
    if rolls.random() < _FORMS:
        form = rolls.choice(FORMS)
        named = {"name": form.name, "schema": form.schema, "strict": True}
        body = question(f"{unique}. {form.question}", max_tokens=400) | {
            "response_format": {"type": "json_schema", "json_schema": named}
        }
    return Wish(
        body=body,
        pause_s=rolls.expovariate(1 / _PAUSE_S),
        patience_s=rolls.uniform(0.0, 6.0) if rolls.random() < _CANCELS else None,
    )
