"""What a passing event stream means, and where its whole events end. Pure, no I/O.

Until the first content everything is held back and each event is understood; after it, chunks
pass with byte searches alone: up to the last whole event, and a closer look only where the
dialect's `watch` pattern matches.
"""

from __future__ import annotations

from fallback.core.outcome import Failure
from fallback.dialects.base import Dialect, ErrorFacts, Mark
from fallback.dialects.sse import split_events
from fallback.upstream.transport import TransportError

MAX_EVENT_BYTES = 32 * 1024 * 1024


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
        """The bytes that are whole events now; the remainder waits for more.

        Raises `TransportError` for an event over `MAX_EVENT_BYTES`.
        """
        buffer = self._rest + chunk
        if len(buffer) > MAX_EVENT_BYTES:
            raise TransportError(Failure.PROTOCOL, "an event without an end", sent=True)
        if b"\r" in buffer:
            events, self._rest = split_events(buffer)
            self._look(events)
            return b"".join(events)
        end = buffer.rfind(b"\n\n") + 2
        if end == 1:
            self._rest = buffer
            return b""
        whole, self._rest = buffer[:end], buffer[end:]
        self._search(whole, self._prologue(whole))
        return whole

    def _prologue(self, whole: bytes) -> int:
        """Look at each event up to the first content; returns where to go on."""
        at = 0
        while not (self.committed or self._failed or at == len(whole)):
            end = whole.find(b"\n\n", at) + 2
            if end == 1:
                return len(whole)  # a blank line too many
            self._look([whole[at:end]])
            at = end
        return at

    def _search(self, whole: bytes, at: int) -> None:
        found = self._dialect.watch.search(whole, at)
        if found is None and not self.finished:
            return
        if found is not None and not self.finished:
            before = whole.rfind(b"\n\n", at, found.start())
            at = before + 2 if before >= 0 else at
        self._look(split_events(whole[at:])[0])

    @property
    def _failed(self) -> bool:
        return self.error is not None or self.malformed

    def _look(self, events: list[bytes]) -> None:
        for event in events:
            if self._failed:
                return
            self._take(self._dialect.mark(event), event)

    def _take(self, mark: Mark, event: bytes) -> None:
        if mark is Mark.CONTENT:
            # Content after the end of one choice: another one is still being written.
            self.committed, self.finished = True, False
        elif mark is Mark.FINISHED:
            self.committed = self.finished = True
        elif mark is Mark.END:
            self.committed = self.finished = self.ended = True
        elif mark is Mark.ERROR:
            self.error = self._dialect.stream_error(event)
        elif mark is Mark.MALFORMED and not self.committed:
            self.malformed = True
