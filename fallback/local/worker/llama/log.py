"""What llama.cpp says of itself."""

from __future__ import annotations

import ctypes
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import llama_cpp

# ggml_log_level of ggml.h.
_WARN = 3
_CONT = 5


class Log:
    """llama.cpp's log: warnings and errors go to stderr, the last lines are kept."""

    def __init__(self, lines: int) -> None:
        self._last: deque[str] = deque(maxlen=lines)
        self._level = _WARN
        self._listener: list[str] | None = None
        # ctypes keeps no reference to a callback: this one must live as long as llama.cpp.
        self._callback = llama_cpp.llama_log_callback(self._take)

    def install(self) -> None:
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def last_error(self) -> str:
        return " / ".join(self._last) or "no reason given"

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """All lines from here on, what it says for information too."""
        lines: list[str] = []
        self._listener = lines
        try:
            yield lines
        finally:
            self._listener = None

    def _take(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONT:
            self._level = level
        if self._listener is not None:
            self._listener.append(text.decode(errors="replace"))
        if self._level < _WARN or not text.strip():
            return
        line = text.decode(errors="replace").strip()
        self._last.append(line)
        sys.stderr.write(line + "\n")


log = Log(lines=4)
