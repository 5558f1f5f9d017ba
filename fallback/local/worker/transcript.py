"""A model's tokens -> text that a client may see: whole characters, never a stop sequence."""

from __future__ import annotations

import codecs

from fallback.core.stops import StopScanner


class Transcript:
    """The text of one answer as it grows behind `prefix`, in which a stop sequence may begin,
    but not end."""

    def __init__(self, stops: tuple[str, ...], prefix: str = "") -> None:
        self._scanner = StopScanner(stops, after=prefix)
        # A token may hold a part of a character; byte tokens of a confused model, none at all.
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> tuple[str, str | None]:
        """Text that is safe to send (may be empty), and the stop sequence that was hit."""
        return self._scanner.feed(self._utf8.decode(data))

    def flush(self) -> str:
        """What was held back, at the end of the answer. Half a character is dropped."""
        return self._scanner.flush()
