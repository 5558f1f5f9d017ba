"""What a passing event stream means, and where its whole events end. Pure, no I/O.

Until the first content everything is held back and each event is understood; after it, chunks
pass with byte searches alone: up to the last whole event, and a closer look only where the
dialect's `watch` pattern matches.
"""

from __future__ import annotations

from fallback.dialects.base import Dialect, ErrorFacts, Mark
from fallback.dialects.sse import split_events


class StreamWatch:
    """Feed it decoded bytes in order; read the attributes after each.

    `committed`: content (or a whole answer without any) has been seen. `finished`: the answer
    is whole, `ended`: its terminal event was seen. `error`: what an error event said.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._rest = b""
        self.committed = False
        self.finished = False
        self.ended = False
        self.malformed = False
        self.error: ErrorFacts | None = None

    def __repr__(self) -> str:
        seen = [
            name for name in ("committed", "finished", "ended", "malformed") if getattr(self, name)
        ]
        return f"<StreamWatch {self._dialect.name} {' '.join(seen)} rest={len(self._rest)}>"

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that are whole events now; the remainder waits for more."""
        if not self.committed or self._rest or b"\r" in chunk:
            return self._feed_slowly(chunk)
        end = chunk.rfind(b"\n\n") + 2
        if end == 1:
            self._rest = chunk
            return b""
        whole, self._rest = chunk[:end], chunk[end:]
        if self.finished or self._dialect.watch.search(whole):
            self._look(split_events(whole)[0])
        return whole

    def _feed_slowly(self, chunk: bytes) -> bytes:
        events, self._rest = split_events(self._rest + chunk)
        whole = b"".join(events)
        if not self.committed or self.finished or self._dialect.watch.search(whole):
            self._look(events)
        return whole

    def _look(self, events: list[bytes]) -> None:
        for event in events:
            mark = self._dialect.mark(event)
            if mark is Mark.CONTENT:
                # Content after the end of one choice: another one is still being written.
                self.committed, self.finished = True, False
            elif mark is Mark.FINISHED:
                self.committed = self.finished = True
            elif mark is Mark.END:
                self.committed = self.finished = self.ended = True
            elif mark is Mark.ERROR:
                self.error = self._dialect.stream_error(event)
                return
            elif mark is Mark.MALFORMED and not self.committed:
                self.malformed = True
                return
