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
    passed = b"".join(watch.feed(sent[at : at + size]) for at in range(0, len(sent), size))
    assert sent.startswith(passed)
    assert b"\n\n" not in sent[len(passed) :]


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    """Every buffer has a limit: a server that never ends an event is out of protocol."""
    watch = StreamWatch(DIALECTS["openai-chat"])
    assert watch.feed(b"x" * MAX_EVENT_BYTES) == b""
    with pytest.raises(TransportError) as caught:
        watch.feed(b"x")
    assert caught.value.failure is Failure.PROTOCOL
