"""How to sample: the client's wishes over defaults that suit a small model. Pure."""

from __future__ import annotations

import re

import msgspec

from fallback.core.conversation import Sampling

# What the embedded model's authors recommend (the model card of SmolLM2-135M-Instruct): at the
# 0.7 to 1.0 that suits large models, one of this size wanders off the subject.
TEMPERATURE = 0.2
TOP_K = 40
TOP_P = 0.9
MIN_P = 0.05
# A model of 135M parameters repeats itself without end where nothing holds it back.
REPEAT_PENALTY = 1.1
PENALTY_TOKENS = 64

_EASE_FROM = 0.75
_EASE_LOGITS = 20.0
_SENTENCE_END = re.compile(r"(?:[^\W\d_]|[)\"'”])[.!?…]+[)\"'”*`]*\s*\Z|[。！？]\s*\Z|\n\s*\Z")  # noqa: RUF001


class SamplerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The samplers' numbers. `temperature` 0 is greedy; `seed` None is a random one (32 bits)."""

    temperature: float = TEMPERATURE
    top_k: int = TOP_K
    top_p: float = TOP_P
    min_p: float = MIN_P
    repeat_penalty: float = REPEAT_PENALTY
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None

    @property
    def is_argmax(self) -> bool:
        """Whether the most likely token is drawn, whatever was said before."""
        penalties = (self.repeat_penalty, self.frequency_penalty, self.presence_penalty)
        return self.temperature == 0 and penalties == (1.0, 0.0, 0.0)

    @property
    def among(self) -> int | None:
        """What is drawn is one of so many of the most likely tokens; None: of all.

        The samplers leave `top_k` of those the penalties have lowered, which are at most the
        last `PENALTY_TOKENS`; unless a penalty makes a token likelier for having been said.
        """
        if self.repeat_penalty < 1 or min(self.frequency_penalty, self.presence_penalty) < 0:
            return None
        return PENALTY_TOKENS + (1 if self.temperature == 0 else self.top_k)


def settings_for(sampling: Sampling) -> SamplerSettings:
    """What the client asked for, out of range values brought into range."""
    temperature = max(0.0, _or(sampling.temperature, TEMPERATURE))
    return SamplerSettings(
        temperature=temperature,
        # Who asks for the likeliest token gets it: a file that is given again, or JSON, repeats
        # itself rightly, and a penalty makes close choices where the model has none.
        repeat_penalty=REPEAT_PENALTY if temperature > 0 else 1.0,
        # A top-k is always there: a top-p over the whole vocabulary costs milliseconds a token.
        top_k=sampling.top_k if sampling.top_k is not None and sampling.top_k > 0 else TOP_K,
        top_p=min(1.0, max(0.0, _or(sampling.top_p, TOP_P))),
        frequency_penalty=_or(sampling.frequency_penalty, 0.0),
        presence_penalty=_or(sampling.presence_penalty, 0.0),
        seed=None if sampling.seed is None else sampling.seed & 0xFFFFFFFF,
    )


def end_bias(output_tokens: int, limit_tokens: int) -> float:
    """Logits to add to what ends an answer, so that it ends inside its limit.

    Zero for the first three quarters, growing from there. A client that did not set the limit
    reads `max_tokens` as a broken answer (Claude Code resumes three times and then fails), and
    JSON that is cut short is worth nothing to anybody.
    """
    spent = output_tokens / limit_tokens
    return max(0.0, (spent - _EASE_FROM) / (1.0 - _EASE_FROM)) * _EASE_LOGITS


def ends_sentence(text: str) -> bool:
    """Whether an answer that stopped after `text` would not seem broken off."""
    return _SENTENCE_END.search(text) is not None


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
