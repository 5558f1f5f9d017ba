"""What those are told whom the model cannot serve in time. Pure."""

from __future__ import annotations

import math
from typing import Final

from fallback.core.errors import EngineBusy

# openai-py and anthropic-py pass over a `Retry-After` above a minute, and come back at once.
_MOST_RETRY_S: Final = 60


def too_many(*, wait_s: float, running: int, waiting: int) -> EngineBusy:
    """The queue is full: there is a place again when the next of those is done."""
    retry_s = _retry_s(wait_s / max(1, waiting))
    return EngineBusy(
        f"the local model is busy: it answers {running} requests and {waiting} wait, so that"
        f" this one would wait about {_words(wait_s)}; try again in {retry_s} s",
        retry_after_s=retry_s,
    )


def too_slow(*, wait_s: float, read_s: float, within_s: float) -> EngineBusy:
    """It could not begin in time: by and by it could, as others end."""
    retry_s = _retry_s(wait_s + read_s - within_s)
    return EngineBusy(
        f"the local model is busy: this request would wait about {_words(wait_s)} and have its"
        f" first token after {_words(wait_s + read_s)}, which was wanted within"
        f" {_words(within_s)}; try again in {retry_s} s",
        retry_after_s=retry_s,
    )


def gave_way(*, waited_s: float, wait_s: float) -> EngineBusy:
    """It waited, and others went before it until it was too late."""
    retry_s = _retry_s(wait_s)
    return EngineBusy(
        f"the local model was busy with others for the {_words(waited_s)} that this request"
        f" waited; one that comes now would wait about {_words(wait_s)}; try again in"
        f" {retry_s} s",
        retry_after_s=retry_s,
    )


def _retry_s(seconds: float) -> int:
    return min(_MOST_RETRY_S, max(1, math.ceil(seconds)))


def _words(seconds: float) -> str:
    return f"{max(0, seconds):.1f} s" if seconds < 10 else f"{seconds:.0f} s"
