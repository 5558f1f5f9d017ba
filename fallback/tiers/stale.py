"""The stale tier: the answer that the same request was given before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from fallback.core.provenance import Provenance
from fallback.core.stale import StaleAnswer, headers_of
from fallback.tiers.local import WholeAnswer


class Answers(Protocol):
    """Where earlier answers are kept. Neither method raises."""

    def keep(self, key: str, answer: StaleAnswer) -> None: ...

    async def find(self, key: str, since: float) -> StaleAnswer | None:
        """The one for this key, if it was given at `since` (Unix seconds) or later."""
        ...


class StaleTier:
    """`clock` in Unix seconds; `proxy` is this deployment's name in `Cache-Status`."""

    def __init__(self, answers: Answers, *, clock: Callable[[], float], proxy: str) -> None:
        self._answers = answers
        self._clock = clock
        self._proxy = proxy

    def keep(self, key: str, origin: str, content_type: str, body: bytes) -> None:
        """An answer of the cloud's, whole and without any coding; `origin` is its receipt."""
        answer = StaleAnswer(
            stored=self._clock(), origin=origin, content_type=content_type, body=body
        )
        self._answers.keep(key, answer)

    async def answer(self, key: str, window_s: float, provenance: Provenance) -> WholeAnswer | None:
        """One that is at most `window_s` seconds old; None where there is none."""
        now = self._clock()
        found = await self._answers.find(key, now - window_s)
        if found is None:
            return None
        return WholeAnswer(
            provenance=msgspec.structs.replace(provenance, stale_of=found.origin),
            body=found.body,
            headers=tuple(headers_of(found, now, self._proxy)),
        )
