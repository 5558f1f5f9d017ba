"""Stop sequences in text that comes in pieces."""

from __future__ import annotations


class StopScanner:
    """Lets text through up to the first stop sequence, whatever the pieces it comes in.

    The first is the one that is complete first; of those complete at the same character, the
    longest. Text that may be the beginning of a stop sequence is held back until it is known
    not to be. Empty stop sequences are ignored. `after` is text that is out already: a stop
    sequence may have begun in it.
    """

    def __init__(self, stops: tuple[str, ...], *, after: str = "") -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = split_tail(after, held_length(after, self._stops))[1]
        self._out_already = len(self._held)
        self._hit: str | None = None

    def __repr__(self) -> str:
        return f"StopScanner(stops={self._stops!r}, held={self._held!r}, hit={self._hit!r})"

    def feed(self, text: str) -> tuple[str, str | None]:
        """Text that is safe to send on, and the stop sequence hit; after one, nothing more."""
        if self._hit is not None:
            return "", self._hit
        self._held += text
        found = first_stop(self._held, self._stops)
        if found is None:
            keep = held_length(self._held, self._stops)
            safe, self._held = split_tail(self._held, keep)
            return self._new(safe), None
        start, self._hit = found
        safe, self._held = self._held[:start], ""
        return self._new(safe), self._hit

    def flush(self) -> str:
        """The text still held back, now that no more will come."""
        held, self._held = self._held, ""
        return self._new(held)

    def _new(self, text: str) -> str:
        out_already = min(self._out_already, len(text))
        self._out_already -= out_already
        return text[out_already:]


def first_stop(text: str, stops: tuple[str, ...]) -> tuple[int, str] | None:
    """Where the stop sequence that is complete first begins, and which it is."""
    starts = ((text.find(stop), stop) for stop in stops)
    ends = [(start + len(stop), start, stop) for start, stop in starts if start >= 0]
    if not ends:
        return None
    _, start, stop = min(ends)
    return start, stop


def held_length(text: str, stops: tuple[str, ...]) -> int:
    """Length of the longest end of `text` that is the beginning, not the whole, of a stop."""
    longest = max((len(stop) for stop in stops), default=1) - 1
    for length in range(min(longest, len(text)), 0, -1):
        if any(stop.startswith(text[-length:]) for stop in stops):
            return length
    return 0


def split_tail(text: str, length: int) -> tuple[str, str]:
    """`text` without its last `length` characters, and those."""
    cut = len(text) - length
    return text[:cut], text[cut:]
