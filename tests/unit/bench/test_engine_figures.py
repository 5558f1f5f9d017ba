"""Answers -> rates, waits, slow-downs."""

import pytest
from engine_peer.figures import (
    Stream,
    decode_rate,
    joint_rate,
    longest_pause_s,
    median_wait_s,
    slowdown,
    whole_rate,
)
from engine_peer.reading import Answer


def answer(*content_at: float, asked_at: float = 0.0, tokens: int | None = None) -> Answer:
    return Answer(
        asked_at=asked_at,
        content_at=content_at,
        ended_at=content_at[-1],
        text="",
        calls=(),
        finish_reason="length",
        prompt_tokens=10,
        cached_tokens=0,
        output_tokens=len(content_at) if tokens is None else tokens,
    )


def test_decode_rate_of_one() -> None:
    """The first token is the reading of the prompt; the others took the time since."""
    assert decode_rate([answer(5.0, 5.5, 6.0, 6.5, 7.0)]) == 2.0


def test_decode_rate_of_several() -> None:
    """Answers add up while all of them run: from the last's first content to the first's end."""
    assert decode_rate([answer(1.0, 2.0, 3.0, 4.0), answer(2.0, 2.5, 3.0, 4.0, 5.0)]) == 5 / 2


def test_no_decode_rate_of_one_after_the_other() -> None:
    """Answers that never ran at the same time have none."""
    with pytest.raises(ValueError, match="same time"):
        decode_rate([answer(1.0, 2.0), answer(3.0, 4.0)])


def test_joint_rate() -> None:
    """From the question to the end of the last, with all that was waited for."""
    assert joint_rate([answer(1.0, 2.0), answer(3.0, 4.0, 5.0)]) == 1.0


def test_tokens_rather_than_parts() -> None:
    """Several tokens in one part count as what they are."""
    assert decode_rate([answer(1.0, 2.0, tokens=11)]) == 10.0


def test_whole_rate() -> None:
    """Answers asked one after the other: all tokens by all time from question to end."""
    assert whole_rate([answer(1.0, 2.0, tokens=6), answer(4.0, asked_at=2.0, tokens=2)]) == 2.0


def test_median_wait() -> None:
    """Half of the answers began within that time."""
    assert median_wait_s([answer(1.0), answer(2.0), answer(9.0)]) == 2.0


def test_slowdown() -> None:
    """Parts that came every second come every four: four times slower."""
    steady = Stream([0.0, 1.0, 2.0, 3.0, 4.0, 8.0, 12.0, 13.0])
    assert slowdown([steady], began=4.0, ended=12.0) == 4.0


def test_slowdown_of_a_standstill() -> None:
    """A stream that says nothing meanwhile is slowed down by at least all that time."""
    assert slowdown([Stream([0.0, 1.0, 2.0])], began=2.0, ended=12.0) == 10.0


def test_slowdown_of_a_stream_that_ends() -> None:
    """A stream that comes to its end meanwhile counts until then."""
    stream = Stream([0.0, 1.0, 2.0, 4.0, 6.0], is_whole=True)
    assert slowdown([stream], began=2.0, ended=100.0) == 2.0


@pytest.mark.parametrize(
    "stream", [Stream([5.0, 6.0]), Stream([0.0, 1.0, 2.0], is_whole=True)], ids=["late", "early"]
)
def test_slowdown_of_what_did_not_run(stream: Stream) -> None:
    """Without a rate from before, or a stream that still ran, there is no slow-down to tell."""
    with pytest.raises(ValueError, match="before and after"):
        slowdown([stream], began=5.5, ended=6.0)


def test_longest_pause() -> None:
    """The longest silence of any running stream within the time, also one that lasts to its end."""
    streams = [Stream([0.0, 1.0, 2.0, 3.0]), Stream([0.0, 2.0, 2.5, 6.0, 9.0])]
    assert longest_pause_s(streams, began=1.0, ended=7.0) == 4.0
    assert longest_pause_s(streams[1:], began=1.0, ended=7.0) == 3.5
    whole = Stream([0.0, 1.5, 2.0], is_whole=True)
    assert longest_pause_s([whole], began=1.0, ended=7.0) == 0.5
