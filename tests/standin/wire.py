"""What goes over the wire, as values: one recorded request, one prepared answer."""

from __future__ import annotations

import gzip
import json
import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import brotli
from backports import zstd

Headers = tuple[tuple[str, str], ...]

_DECODERS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": zstd.decompress,
}


@dataclass(frozen=True, eq=False)
class Request:
    """One request exactly as it came: `target` is the raw request target, headers in order.

    `left` is set when the client closed the connection before the answer was complete, `done`
    when the stand-in has sent all it meant to send.
    """

    method: str
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    left: threading.Event = field(default_factory=threading.Event, repr=False)
    done: threading.Event = field(default_factory=threading.Event, repr=False)

    @property
    def path(self) -> str:
        """The raw path, nothing decoded."""
        return self.target.partition(b"?")[0].decode("latin-1")

    def header(self, name: str) -> str | None:
        """The first header of this name, in any case."""
        wanted = name.lower().encode()
        return next((v.decode("latin-1") for n, v in self.headers if n.lower() == wanted), None)

    @property
    def content(self) -> bytes:
        """The body without its content coding."""
        decoder = _DECODERS.get(self.header("content-encoding") or "")
        return decoder(self.body) if decoder else self.body

    def json(self) -> Any:
        """The body as plain data; `{}` when there is none."""
        return json.loads(self.content or b"{}")

    @property
    def token(self) -> str:
        """24 hex digits that depend on what was asked only, so that answers repeat exactly."""
        return sha256(self.method.encode() + self.target + self.content).hexdigest()[:24]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a healthy cloud would say.

    `events` are whole server-sent events; the first `prologue` of them carry no content.
    `error_event` is how the dialect reports an error inside a stream.
    """

    headers: Headers
    status: int = 200
    body: bytes = b""
    events: tuple[bytes, ...] = ()
    prologue: int = 0
    error_event: bytes = b""


def compact(value: Any) -> bytes:
    """JSON as most servers write it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def event(name: str | None, data: Any) -> bytes:
    """One server-sent event; dialects without event names pass `None`."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + (data if isinstance(data, bytes) else compact(data)) + b"\n\n"
