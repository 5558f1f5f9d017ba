"""Keeps the outages of a running service: in memory at once, on disk soon after.

The disk sees an outage once it has come to `down`, at each change of state and every five seconds
while it is on: what a killed service leaves behind is at most so old, and says until when it was
watched. Such a record stays as it is; see `Outage.phase`. A suspicion that requests felt is
written when it has gone by.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from fallback.core.health import Change, Evidence, State
from fallback.core.outages import Outage, OutageBook
from fallback.core.record import FinishedRequest
from fallback.storage.errors import StorageError
from fallback.storage.place import shown
from fallback.storage.writer import Writer

if TYPE_CHECKING:
    from fallback.storage.outages import OutageStore

_log = logging.getLogger("fallback.storage")
_T = TypeVar("_T")

_BEAT_S = 5.0
_CLOSE_S = 3.0


class OutageRecorder:
    """`place` is the database's file or URL, None to keep outages in memory only.
    SQLAlchemy is loaded when there is something to write or to read."""

    def __init__(
        self,
        book: OutageBook,
        place: Path | str | None,
        *,
        clock: Callable[[], float],
        beat_s: float = _BEAT_S,
    ) -> None:
        self._book = book
        self._place = place
        self._clock = clock
        self._beat_s = beat_s
        self._writer = Writer(lambda outages: self._store().save(outages))
        self._unread: str | None = None
        self._beat: asyncio.Task[None] | None = None

    def changed(self, change: Change) -> None:
        """Hear of a change of health."""
        outage = self._book.changed(change)
        if outage is not None:
            self._save(outage)
        if self._book.active and (self._beat is None or self._beat.done()):
            self._beat = asyncio.ensure_future(self._keep_saving())

    def noticed(self, evidence: Evidence, now: float) -> None:
        """Hear of evidence, before the change that it may bring about."""
        self._book.noticed(evidence, now)

    def finished(self, record: FinishedRequest) -> None:
        """Hear of a request that ended."""
        for outage in self._book.finished(record, self._clock()):
            if outage.ended is not None:
                self._save(outage)

    async def since(self, when: float) -> list[Outage]:
        """Those worth a record that were on at or after `when`, newest first."""
        known = {o.id: o for o in self._book.known if o.matters and o.last_known >= when}
        nothing: list[Outage] = []
        stored = await self._read(lambda store: store.all_since(when), nothing)
        everything = {o.id: o for o in stored} | known
        return sorted(everything.values(), key=lambda outage: outage.started, reverse=True)

    async def find(self, outage_id: str) -> Outage | None:
        """The one of this id; mere suspicions too while they are in memory."""
        known = self._book.find(outage_id)
        return known or await self._read(lambda store: store.get(outage_id), None)

    def status(self) -> dict[str, Any]:
        """How writing and reading stand, as JSON types."""
        path = None if self._place is None else shown(self._place)
        return {"path": path, "unread": self._unread, **msgspec.to_builtins(self._writer.status())}

    async def aclose(self) -> None:
        """Note that nobody watches from now on, and write what waits."""
        if self._beat is not None:
            self._beat.cancel()
        for outage in self._book.stopped(self._clock()):
            self._save(outage)
        await asyncio.to_thread(self._writer.close, _CLOSE_S)

    async def _keep_saving(self) -> None:
        while self._book.active:
            await asyncio.sleep(self._beat_s)
            for outage in self._book.watched(self._clock()):
                self._save(outage)

    def _save(self, outage: Outage) -> None:
        settled = outage.worst is State.DOWN or outage.phase(outage.watched_until) != "on"
        if self._place is not None and outage.matters and settled:
            self._writer.put(outage)

    async def _read(self, ask: Callable[[OutageStore], _T], nothing: _T) -> _T:
        """What is on record; `nothing` where there is none or it cannot be read."""
        if self._place is None:
            return nothing
        try:
            found = await asyncio.to_thread(lambda: ask(self._store()))
        except StorageError as error:
            _log.warning("outages cannot be read: %s", error)
            self._unread = str(error)
            return nothing
        self._unread = None
        return found

    def _store(self) -> OutageStore:
        from fallback.storage.outages import OutageStore

        assert self._place is not None, "without a place nothing is read or written"
        return OutageStore(self._place)
