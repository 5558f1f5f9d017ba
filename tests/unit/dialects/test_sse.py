"""Cutting, reading and writing server-sent events."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.dialects.sse import event_data, format_event, split_events

_pieces = st.sampled_from([b"\n", b"\r", b"\r\n", b"data: x", b"event: y", b": note", b"data"])
_streams = st.lists(_pieces, max_size=30).map(b"".join)


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_every_kind_of_line_end(end: bytes) -> None:
    """An event ends with an empty line, whichever line ends its sender uses."""
    assert split_events(b"data: a" + end + b"data: b") == ([b"data: a" + end], b"data: b")


def test_a_carriage_return_at_the_end_may_be_half_a_line_end() -> None:
    """What looks like an empty line may still become CRLF, so it waits for the next byte."""
    assert split_events(b"data: a\r\n\r") == ([], b"data: a\r\n\r")
    assert split_events(b"data: a\r\n\r\n") == ([b"data: a\r\n\r\n"], b"")


@given(_streams)
def test_nothing_is_lost(stream: bytes) -> None:
    """The events and the rest are the stream."""
    events, rest = split_events(stream)
    assert b"".join(events) + rest == stream


@given(_streams, st.lists(st.integers(0, 200), max_size=8))
def test_cuts_do_not_depend_on_chunks(stream: bytes, cuts: list[int]) -> None:
    """However a stream is chunked, the same events come out."""
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    found: list[bytes] = []
    rest = b""
    for start, end in pairwise(places):
        events, rest = split_events(rest + stream[start:end])
        found += events
    assert (found, rest) == split_events(stream)


@pytest.mark.parametrize(
    ("event", "read"),
    [
        (b"data: a\n\n", (None, b"a")),
        (b"event: x\r\ndata:a\r\ndata: b\r\n\r\n", ("x", b"a\nb")),
        (b": comment\n\n", (None, b"")),
        (b"data\ndata\n\n", (None, b"\n")),
        (b"data:  a\nid: 7\nretry: 5\n\n", (None, b" a")),
        (b"\xef\xbb\xbfdata: a\n\n", (None, b"a")),
        (b"event:\ndata: {}\n\n", (None, b"{}")),
    ],
)
def test_reading(event: bytes, read: tuple[str | None, bytes]) -> None:
    """Names and data are read as the HTML standard says."""
    assert event_data(event) == read


@given(st.sampled_from([None, "x"]), st.binary().filter(lambda data: not set(data) & {10, 13}))
def test_what_is_written_is_read(name: str | None, data: bytes) -> None:
    """An event of ours is one whole event, and says what it was made of."""
    event = format_event(data, name)
    assert split_events(event) == ([event], b"")
    assert event_data(event) == (name, data)
