"""What a passing event stream means, and where its whole events end. Pure, no I/O.

Until the first content everything is held back and each event is understood; after it, chunks
pass with byte searches alone: up to the last whole event, and a closer look only where the
dialect's `watch` pattern matches or an event is not plainly one line of a JSON object.
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
    is whole, `ended`: its terminal event was seen. `error`: what an error event said;
    `malformed`: an event was no JSON. `bad` is that event and what came after it.
    """

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._rest = b""
        self.committed = False
        self.finished = False
        self.ended = False
        self.malformed = False
        self.error: ErrorFacts | None = None
        self.bad = b""

    def __repr__(self) -> str:
        seen = [
            name for name in ("committed", "finished", "ended", "malformed") if getattr(self, name)
        ]
        return f"<StreamWatch {self._dialect.name} {' '.join(seen)} rest={len(self._rest)}>"

    @property
    def failed(self) -> bool:
        """Whether an event came that ends the stream before its end."""
        return self.error is not None or self.malformed

    def feed(self, chunk: bytes) -> bytes:
        """The bytes that are whole, good events now; the remainder waits for more.

        Raises `TransportError` for an event over `MAX_EVENT_BYTES`.
        """
        buffer = self._rest + chunk
        if len(buffer) > MAX_EVENT_BYTES:
            raise TransportError(Failure.PROTOCOL, "an event without an end", sent=True)
        if b"\r" in buffer:
            events, self._rest = split_events(buffer)
            whole = b"".join(events)
            good = self._look(events)
        else:
            end = buffer.rfind(b"\n\n") + 2
            if end == 1:
                self._rest = buffer
                return b""
            whole, self._rest = buffer[:end], buffer[end:]
            good = self._scan(whole)
        if good < len(whole):
            self.bad = whole[good:]
            return whole[:good]
        return whole

    def _scan(self, whole: bytes) -> int:
        """How many bytes are good: all of them, or those before an event that is not."""
        at = self._prologue(whole)
        if self.failed or at == len(whole):
            return at
        if not self.finished:
            suspect = self._suspect(whole, at)
            at = suspect if _plain(whole, at, suspect) else at
        good = at + self._look(split_events(whole[at:])[0])
        return good if self.failed else len(whole)

    def _suspect(self, whole: bytes, at: int) -> int:
        """Where the first event begins that may be more than content; the end, if none may."""
        found = self._dialect.watch.search(whole, at)
        if found is None:
            return len(whole)
        before = whole.rfind(b"\n\n", at, found.start())
        return before + 2 if before >= 0 else at

    def _prologue(self, whole: bytes) -> int:
        """Look at each event up to the first content; returns where to go on."""
        at = 0
        while not (self.committed or at == len(whole)):
            end = whole.find(b"\n\n", at) + 2
            if end == 1:
                return len(whole)  # a blank line too many
            at += self._look([whole[at:end]])
            if self.failed:
                break
        return at

    def _look(self, events: list[bytes]) -> int:
        """Understand these events; returns the length of the good ones."""
        good = 0
        for event in events:
            self._take(self._dialect.mark(event), event)
            if self.failed:
                break
            good += len(event)
        return good

    def _take(self, mark: Mark, event: bytes) -> None:
        if self.ended:
            return
        if mark is Mark.CONTENT:
            # Content after the end of one choice: another one is still being written.
            self.committed, self.finished = True, False
        elif mark is Mark.FINISHED:
            self.committed = self.finished = True
        elif mark is Mark.END:
            self.committed = self.finished = self.ended = True
        elif mark is Mark.ERROR:
            self.error = self._dialect.stream_error(event)
        elif mark is Mark.MALFORMED:
            self.malformed = True


def _plain(whole: bytes, at: int, end: int) -> bool:
    """Whether each event looks like one line that holds a whole JSON object. Inside JSON neither
    a bare line end nor an unescaped quote can be; braces in strings cost a closer look."""
    events = whole.count(b"\n\n", at, end)
    framed = events == whole.count(b"}\n\n", at, end) == whole.count(b'data: {"', at, end)
    return framed and whole.count(b"{", at, end) == whole.count(b"}", at, end)
