"""Server-sent events: cutting a byte stream into whole events, reading and writing one.

Source: WHATWG HTML, "Server-sent events", https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re

# A line end, then an empty line. A lone CR that ends the buffer may still be half of a CRLF.
_EVENT_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n|\Z))")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def split_events(buffer: bytes) -> tuple[list[bytes], bytes]:
    """The whole events in `buffer`, each with its blank line, and the rest.

    Nothing is lost: the events and the rest, joined, are the buffer. Where the cuts fall does
    not depend on how the stream was chunked, if the rest is put before the next chunk.
    """
    events: list[bytes] = []
    start = 0
    for end in _EVENT_END.finditer(buffer):
        events.append(buffer[start : end.end()])
        start = end.end()
    return events, buffer[start:]


def event_data(event: bytes) -> tuple[str | None, bytes]:
    """The name of one event (`None` if it has none) and its data lines, joined by newlines."""
    name: str | None = None
    data: list[bytes] = []
    for line in event.removeprefix(_BYTE_ORDER_MARK).splitlines():
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.decode("utf-8", "replace") or None
    return name, b"\n".join(data)


def format_event(data: bytes, name: str | None = None) -> bytes:
    """One event with `data`, which is a single line (as compact JSON always is)."""
    head = b"" if name is None else b"event: " + name.encode() + b"\n"
    return head + b"data: " + data + b"\n\n"
