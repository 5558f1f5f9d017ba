"""The worker's end of the pipes: frames in on stdin, frames out on stdout."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

from fallback.local import wire

_READ_BYTES = 1 << 16


class Channel:
    """One reader; any thread may send. When the parent is gone, so is this process."""

    def __init__(self, inbound: int, outbound: int) -> None:
        self._inbound = inbound
        self._outbound = outbound
        self._decoder = wire.worker_decoder()
        self._sending = threading.Lock()

    @classmethod
    def take_stdio(cls) -> Channel:
        """Keep stdin and stdout for the frames alone: what else prints, prints to stderr."""
        inbound, outbound = os.dup(0), os.dup(1)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        os.dup2(2, 1)
        return cls(inbound, outbound)

    def messages(self) -> Iterator[wire.ToWorker]:
        """What the parent says, until it says no more. Raises `ProtocolError`."""
        while data := os.read(self._inbound, _READ_BYTES):
            yield from self._decoder.feed(data)

    def send(self, *messages: wire.ToParent) -> None:
        """Send a frame for each, all at once; waits while the parent is slow to read."""
        frames = memoryview(b"".join(map(wire.encode, messages)))
        with self._sending:
            try:
                while frames:
                    frames = frames[os.write(self._outbound, frames) :]
            except BrokenPipeError:
                os._exit(0)
