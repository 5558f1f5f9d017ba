"""What llama.cpp says of itself."""

from __future__ import annotations

import ctypes
import sys
from collections import deque

import llama_cpp

# ggml_log_level of ggml.h.
_WARN = 3
_CONT = 5


class Log:
    """llama.cpp's log: warnings and errors go to stderr, the last lines are kept."""

    def __init__(self, lines: int) -> None:
        self._last: deque[str] = deque(maxlen=lines)
        self._level = _WARN
        # ctypes keeps no reference to a callback: this one must live as long as llama.cpp.
        self._callback = llama_cpp.llama_log_callback(self._take)

    def install(self) -> None:
        llama_cpp.llama_log_set(self._callback, ctypes.c_void_p(0))

    def last_error(self) -> str:
        return " / ".join(self._last) or "no reason given"

    def _take(self, level: int, text: bytes, _user_data: object) -> None:
        if level != _CONT:
            self._level = level
        if self._level < _WARN or not text.strip():
            return
        line = text.decode(errors="replace").strip()
        self._last.append(line)
        sys.stderr.write(line + "\n")


log = Log(lines=4)
