"""A step that can be broken off: whoever comes need not wait for the end of one that nobody needs.

llama.cpp asks before each operation of a step's graph whether to go on (`llama_set_abort_callback`,
CPU only; elsewhere a step runs to its end). A callback in Python would have to take the
interpreter's lock hundreds of times a step, from a thread of llama.cpp's. So the C library's
`strlen` is asked: of an empty text it says 0, go on; of one with a character in it 1, stop.
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llama_cpp

_GO_ON, _STOP = b"\0", b"!"


class Interrupt:
    """Of one context. `now` may be called from any thread."""

    def __init__(self, context: Any) -> None:
        self._text = ctypes.create_string_buffer(2)
        self._lock = threading.Lock()
        self._armed = False
        self._strlen = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None).strlen
        callback = ctypes.cast(self._strlen, llama_cpp.ggml_abort_callback)
        data = ctypes.cast(self._text, ctypes.c_void_p)
        llama_cpp.llama_set_abort_callback(context, callback, data)

    def __repr__(self) -> str:
        return f"<Interrupt armed={self._armed} called={self._text.raw[:1] == _STOP}>"

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """The step in here may be broken off. `llama_decode` then gives 2; what it had computed of
        its last micro-batch is taken out of the context again."""
        with self._lock:
            self._armed = True
        try:
            yield
        finally:
            with self._lock:
                self._armed = False
                self._text[0] = _GO_ON

    def now(self) -> None:
        """Break off the step under way, if it is one that may be."""
        with self._lock:
            if self._armed:
                self._text[0] = _STOP
