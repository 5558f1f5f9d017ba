"""What a passing event stream means, however it is written and cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.outcome import Failure
from fallback.dialects import DIALECTS
from fallback.upstream.stream import MAX_EVENT_BYTES, StreamWatch
from fallback.upstream.transport import TransportError

PIECES = (
    b": keep-alive\n",
    b"data: {}\n",
    b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n',
    b"data: [DONE]\n",
    b"\n",
    b"\n\n",
    b"\r\n",
)


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.integers(1, 40))
def test_any_line_ends_in_any_chunks_pass(pieces: list[bytes], size: int) -> None:
    """Blank lines too many and mixed line ends lose nothing and end nothing."""
    sent = b"".join(pieces)
    watch = StreamWatch(DIALECTS["openai-chat"])
    chunks = (sent[at : at + size] for at in range(0, len(sent), size))
    passed = b"".join(watch.feed(chunk) for chunk in chunks if not watch.failed)
    assert sent.startswith(passed + watch.bad)
    assert watch.failed or b"\n\n" not in sent[len(passed) :]


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    """Every buffer has a limit: a server that never ends an event is out of protocol."""
    watch = StreamWatch(DIALECTS["openai-chat"])
    assert watch.feed(b"x" * MAX_EVENT_BYTES) == b""
    with pytest.raises(TransportError) as caught:
        watch.feed(b"x")
    assert caught.value.failure is Failure.PROTOCOL


GOOD = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'


BAD = (
    b'data: {"choices":[{"ind\n\n',
    b'data: {"choices":[{"delta":{"content":"hi"}\n\n',
    b"data: {not json}\n\n",
    b"data: <\n\n",
)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("together", [True, False])
def test_a_malformed_event_in_mid_stream_does_not_pass(bad: bytes, together: bool) -> None:
    """What no client could read is a break, and what was good before it has passed."""
    watch = StreamWatch(DIALECTS["openai-chat"])
    chunks = [GOOD + GOOD + bad + GOOD] if together else [GOOD, GOOD, bad + GOOD]
    assert b"".join(map(watch.feed, chunks)) == GOOD + GOOD
    assert watch.malformed
    assert watch.bad == bad + GOOD


def test_an_error_event_is_held_back() -> None:
    """The client may be given the rest of its answer instead."""
    watch = StreamWatch(DIALECTS["openai-chat"])
    error = b'data: {"error":{"message":"busy"}}\n\n'
    assert watch.feed(GOOD + error) == GOOD
    assert watch.error is not None
    assert watch.error.message == "busy"
    assert watch.bad == error
