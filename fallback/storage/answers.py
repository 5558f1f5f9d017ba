"""Earlier answers by the request that they were given to, bounded."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fallback.core.stale import StaleAnswer
from fallback.storage.errors import StorageError

if TYPE_CHECKING:
    from fallback.storage.answer_store import AnswerStore

_log = logging.getLogger("fallback.storage")

_FIND_S = 1.0
_AT_ONCE = 8


class Answers:
    """`store` opens the database; it may be slow the first time. Nothing raises: a disk that is
    full, slow or gone costs what would have been kept or found."""

    def __init__(self, store: Callable[[], AnswerStore]) -> None:
        self._store = store
        self._under_way: set[asyncio.Task[None]] = set()
        self._told: str | None = None

    def __repr__(self) -> str:
        return f"<Answers under_way={len(self._under_way)}>"

    def keep(self, key: str, answer: StaleAnswer) -> None:
        """Have it written, soon. Where too many wait for the disk it is not."""
        if len(self._under_way) < _AT_ONCE:
            task = asyncio.ensure_future(self._keep(key, answer))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def find(self, key: str, since: float) -> StaleAnswer | None:
        """The one for this request, if it was given at `since` (Unix seconds) or later."""
        try:
            async with asyncio.timeout(_FIND_S):
                return await asyncio.to_thread(lambda: self._store().find(key, since))
        except (StorageError, TimeoutError) as error:
            self._tell(f"earlier answers cannot be read: {error or 'the disk is too slow'}")
            return None

    async def aclose(self) -> None:
        """Wait for what is being written."""
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _keep(self, key: str, answer: StaleAnswer) -> None:
        try:
            await asyncio.to_thread(lambda: self._store().save(key, answer))
        except StorageError as error:
            self._tell(f"earlier answers cannot be kept: {error}")
        else:
            self._told = None

    def _tell(self, message: str) -> None:
        if message != self._told:
            _log.warning("%s", message)
        self._told = message


def answers(place: Path | str, *, most_bytes: int) -> Answers:
    """Those of a database, of `most_bytes` in all."""

    @lru_cache(maxsize=1)
    def store() -> AnswerStore:
        from fallback.storage.answer_store import AnswerStore
        from fallback.storage.database import Database

        return AnswerStore(Database(place), most_bytes=most_bytes)

    return Answers(store)
