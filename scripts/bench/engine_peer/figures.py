"""From answers to figures. Pure. Rates in tokens a second, times in seconds."""

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from engine_peer.reading import Answer


def decode_rate(answers: Sequence[Answer]) -> float:
    """Tokens a second of all answers together, from the first content of any to the end of all.

    The first token of each is the prompt's reading, not decoding, and does not count. What keeps
    one waiting while others are decoded lowers the rate, as it should.
    """
    began = min(answer.content_at[0] for answer in answers)
    ended = max(answer.content_at[-1] for answer in answers)
    tokens = sum(answer.output_tokens - 1 for answer in answers)
    return tokens / (ended - began)


def whole_rate(answers: Sequence[Answer]) -> float:
    """Tokens a second of answers that were asked one after the other, from question to end."""
    return sum(each.output_tokens for each in answers) / sum(each.whole_s for each in answers)


def median_wait_s(answers: Sequence[Answer]) -> float:
    """Half of the answers began within that time."""
    return median(answer.first_token_s for answer in answers)


def slowdown(streams: Sequence[Sequence[float]], began: float, ended: float) -> float:
    """How many times longer the parts of running streams took from `began` to `ended` than before.

    `streams` are the times of each one's parts. A stream that stood still all the while counts
    with one part, so that no division is by zero; one that had ended before `ended` with what it
    had until then. Raises `ValueError` where a stream had not begun.
    """
    return median(_slowdown(times, began, ended) for times in streams)


def _slowdown(times: Sequence[float], began: float, ended: float) -> float:
    first, last = bisect_left(times, began), bisect_left(times, ended)
    if first < 2:
        raise ValueError("a stream has to run before it can be slowed down")
    before_s = (times[first - 1] - times[0]) / (first - 1)
    until = ended if last < len(times) else times[-1]
    return (until - began) / max(1, last - first) / before_s


def longest_pause_s(streams: Sequence[Sequence[float]], began: float, ended: float) -> float:
    """The longest time within `began` and `ended` in which a stream said nothing."""
    return max(_longest(times, began, ended) for times in streams)


def _longest(times: Sequence[float], began: float, ended: float) -> float:
    within = [began, *(each for each in times if began < each < ended), min(ended, times[-1])]
    return max(later - earlier for earlier, later in pairwise(within))
