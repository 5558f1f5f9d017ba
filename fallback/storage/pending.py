"""Receipts that wait for the database, and requests that wait for their receipt.

Rules of this file:
- Adding takes microseconds and never waits for a disk; see `journal.py` for what outlives us.
- Receipts wait in parts of one segment each. A part leaves when all of it is in the database, or,
  over the limit, as the oldest: then it is lost, and counted.
- A request that has begun is noted in each new segment until it ends.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

from fallback.core.receipt import Gap
from fallback.storage.journal import BEGUN, DONE, Segment
from fallback.storage.lines import Line

_log = logging.getLogger("fallback.storage")


_PART_BYTES = 1024 * 1024
_SHARE_OF_BEGUN = 4


class Part:
    """Some receipts in the order they came, and where they lie meanwhile, if anywhere."""

    __slots__ = ("lines", "segment", "size")

    def __init__(self, segment: Segment | None) -> None:
        self.segment = segment
        self.lines: list[Line] = []
        self.size = 0

    def remove(self) -> None:
        """It need not be found by anybody."""
        if self.segment is not None:
            self.segment.remove()
            self.segment = None


class Pending:
    """`new_segment` gives a fresh one of at least so many bytes, None where there is no journal; an
    `OSError` of it costs the journal of what comes next. At most `limit_bytes` wait, in parts of
    `part_bytes`."""

    def __init__(
        self,
        new_segment: Callable[[int], Segment | None],
        *,
        limit_bytes: int,
        software: str,
        part_bytes: int = _PART_BYTES,
    ) -> None:
        self._new_segment = new_segment
        self._limit_bytes = limit_bytes
        self._part_bytes = part_bytes
        self._software = software
        self._lock = threading.Lock()
        self._begun: dict[str, bytes] = {}
        self._begun_bytes = 0
        self._current: Part | None = None
        self._closed: list[Part] = []
        self._size = 0
        self._gap: Gap | None = None
        self.lost = 0

    def __repr__(self) -> str:
        return f"<Pending waiting={self.waiting} begun={len(self._begun)} lost={self.lost}>"

    @property
    def waiting(self) -> int:
        """How many receipts are not in the database."""
        return sum(len(part.lines) for part in self._parts())

    @property
    def waiting_bytes(self) -> int:
        """What those take that are not in the database."""
        return self._size

    def find(self, id: str) -> bytes | None:
        """The receipt of this id, if it waits."""
        with self._lock:
            lines = (line for part in self._parts() for line in part.lines)
            return next((line.content for line in lines if line.receipt.id == id), None)

    def begun(self, id: str, content: bytes) -> None:
        """A request has begun; `content` is the receipt it gets if nothing more is heard."""
        with self._lock:
            self._begun[id] = content
            self._begun_bytes += len(content)
            part = self._current or self._open(self._segment())
            self._note(part, BEGUN, content)

    def add(self, line: Line) -> None:
        """A request has ended."""
        size = len(line.content)
        if line.bodies is not None:
            size += len(line.bodies.request) + len(line.bodies.answer)
        with self._lock:
            self._begun_bytes -= len(self._begun.pop(line.receipt.id, b""))
            part = self._current or self._open(self._segment())
            if part.size + size > self._part_bytes and part.lines:
                part = self._next()
            part = self._note(part, DONE, line.content)
            part.lines.append(line)
            part.size += size
            self._size += size
            while self._size > self._limit_bytes and self._closed:
                self._lose(self._closed.pop(0))

    def take(self) -> tuple[list[Part], Gap | None]:
        """All that waits, until `written` or `add` takes it away; and what was lost."""
        # Made before the lock is held, so that no request waits for it.
        fresh = self._segment() if self._current is not None and self._current.lines else None
        with self._lock:
            if self._current is not None and self._current.lines:
                self._closed.append(self._current)
                self._open(fresh)
            elif fresh is not None:
                fresh.remove()
            return list(self._closed), self._gap

    def written(self, parts: Sequence[Part], gap: Gap | None) -> None:
        """These are in the database, those too that were given up while they were written."""
        with self._lock:
            done = [part for part in self._closed if part in parts]
            self._closed = [part for part in self._closed if part not in parts]
            self._size -= sum(part.size for part in done)
            saved = sum(len(part.lines) for part in parts) - sum(len(part.lines) for part in done)
            self.lost -= saved
            told = saved + (0 if gap is None else gap.lost)
            if self._gap is not None and told:
                self._gap = _without(self._gap, told)
        for part in done:
            part.remove()

    def close(self) -> bool:
        """Whether all was written; what was not stays in the journal."""
        with self._lock:
            empty = not any(part.lines for part in self._parts()) and self._gap is None
            if empty and self._current is not None:
                self._current.remove()
                self._current = None
            return empty and not self._begun

    def _parts(self) -> list[Part]:
        return [*self._closed, *([] if self._current is None else [self._current])]

    def _next(self) -> Part:
        """The current part is closed; a new one is begun."""
        if self._current is not None:
            self._closed.append(self._current)
        return self._open(self._segment())

    def _open(self, segment: Segment | None) -> Part:
        self._current = part = Part(segment)
        for content in self._begun.values():
            if part.segment is not None and not part.segment.append(BEGUN, content):
                break  # more at once than a segment holds: the rest would not be known of
        return part

    def _segment(self) -> Segment | None:
        try:
            # Those that are under way are noted in it first, and are not to fill it.
            return self._new_segment(_SHARE_OF_BEGUN * self._begun_bytes)
        except OSError as error:
            _log.warning("receipts that wait for the database have no journal: %s", error)
            return None

    def _note(self, part: Part, mark: bytes, content: bytes) -> Part:
        """Have the line in the journal, in the next segment where this one is full."""
        if part.segment is None or part.segment.append(mark, content):
            return part
        part = self._next()
        if part.segment is not None:
            part.segment.append(mark, content)
        return part

    def _lose(self, part: Part) -> None:
        self._size -= part.size
        self.lost += len(part.lines)
        started = [line.receipt.started_us for line in part.lines]
        gap = Gap(
            from_us=min(started),
            lost=len(part.lines),
            software=self._software,
            until_us=max(started),
            why="the database could not be written, and more waited than is kept",
        )
        if self._gap is None:
            _log.error("more receipts wait for the database than are kept: the oldest are lost")
        self._gap = gap if self._gap is None else _joined(self._gap, gap)
        part.remove()


def _joined(one: Gap, other: Gap) -> Gap:
    return Gap(
        from_us=min(one.from_us, other.from_us),
        lost=one.lost + other.lost,
        software=one.software,
        until_us=max(one.until_us, other.until_us),
        why=one.why,
    )


def _without(gap: Gap, lost: int) -> Gap | None:
    """The gap without so many that are on record by now; of what time those were is not kept."""
    return msgspec.structs.replace(gap, lost=gap.lost - lost) if gap.lost > lost else None
