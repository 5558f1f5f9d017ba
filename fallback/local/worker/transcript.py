"""A model's tokens -> text that a client may see: whole characters, never a stop sequence."""

from __future__ import annotations

import codecs
from typing import Literal

from fallback.core.stops import StopScanner, held_length, split_tail


class Transcript:
    """The text of one answer as it grows behind `prefix`, in which a stop sequence may begin,
    but not end. Stop sequences are the answer's: reasoning in front of it, between the two texts
    of `thought`, is passed on as it is."""

    def __init__(
        self, stops: tuple[str, ...], prefix: str = "", thought: tuple[str, str] | None = None
    ) -> None:
        self._thought = Thought(*thought, after=prefix) if thought and stops else None
        spoken = self._thought.spoken if self._thought else prefix
        self._scanner = StopScanner(stops, after=spoken)
        # A token may hold a part of a character; byte tokens of a confused model, none at all.
        self._utf8 = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> tuple[str, str | None]:
        """Text that is safe to send (may be empty), and the stop sequence that was hit."""
        text, thought = self._utf8.decode(data), ""
        if self._thought is not None:
            thought, text = self._thought.feed(text)
        said, stop = self._scanner.feed(text)
        return thought + said, stop

    def flush(self) -> str:
        """What was held back, at the end of the answer. Half a character is dropped."""
        held = self._thought.flush() if self._thought else ""
        return held + self._scanner.flush()


class Thought:
    """Tells reasoning at the very beginning of a text, from `open_` to `close`, from the rest.
    `after` is text that is out already; of that, `spoken` is no reasoning."""

    def __init__(self, open_: str, close: str, *, after: str = "") -> None:
        self._open = open_
        self._close = close
        self._held = ""
        self._out_already = 0
        self._state: Literal["begins", "inside", "over"] = "begins"
        self.spoken = self.feed(after)[1]
        if after and self._state == "begins":
            self._state, self._held, self.spoken = "over", "", after
        self._out_already = len(self._held)

    def __repr__(self) -> str:
        return f"<Thought {self._state}>"

    def feed(self, text: str) -> tuple[str, str]:
        """What of the text so far is known to be reasoning, and what is known to be none."""
        if self._state == "over":
            return "", text
        self._held += text
        if self._state == "begins":
            begun = self._held.lstrip()
            if self._open.startswith(begun):
                return "", ""
            self._state = "inside" if begun.startswith(self._open) else "over"
        if self._state == "over":
            return "", self.flush()
        thought, closed, rest = self._held.partition(self._close)
        if closed:
            self._state, self._held = "over", ""
            return self._new(thought + closed), rest
        thought, self._held = split_tail(thought, held_length(thought, (self._close,)))
        return self._new(thought), ""

    def flush(self) -> str:
        """What was held back."""
        held, self._held = self._held, ""
        return self._new(held)

    def _new(self, text: str) -> str:
        out_already = min(self._out_already, len(text))
        self._out_already -= out_already
        return text[out_already:]
