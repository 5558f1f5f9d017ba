"""From answers to figures. Pure. Rates in tokens a second, times in seconds."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from engine_peer.reading import Answer


def decode_rate(answers: Sequence[Answer]) -> float:
    """Tokens a second of all answers together while all of them run: from the first content of the
    last to the end of the first. When each begins is told by `median_wait_s`. Raises `ValueError`
    where there was no such time."""
    began = max(answer.content_at[0] for answer in answers)
    ended = min(answer.content_at[-1] for answer in answers)
    if ended <= began:
        raise ValueError("the answers did not run at the same time")
    return sum(_tokens_within(answer, began, ended) for answer in answers) / (ended - began)


def _tokens_within(answer: Answer, began: float, ended: float) -> float:
    """The first part is one token; each later one is as many as it is on average, for half a
    character makes no part of its own."""
    later = answer.content_at[1:]
    each = (answer.output_tokens - 1) / len(later)
    return each * sum(began < at <= ended for at in later)


def joint_rate(answers: Sequence[Answer]) -> float:
    """Tokens a second of answers that were asked at once, from the question to the last's end."""
    ended = max(answer.content_at[-1] for answer in answers)
    asked = min(answer.asked_at for answer in answers)
    return sum(answer.output_tokens for answer in answers) / (ended - asked)


def whole_rate(answers: Sequence[Answer]) -> float:
    """Tokens a second of answers that were asked one after the other, from question to end."""
    return sum(each.output_tokens for each in answers) / sum(each.whole_s for each in answers)


def median_wait_s(answers: Sequence[Answer]) -> float:
    """Half of the answers began within that time."""
    return median(answer.first_token_s for answer in answers)


@dataclass(frozen=True, slots=True)
class Stream:
    """When each part of an answer came, and whether that was all of it or it still ran."""

    times: Sequence[float]
    is_whole: bool = False

    def until(self, moment: float) -> float:
        """Up to when it is known to have run, at most to that moment."""
        return min(moment, self.times[-1]) if self.is_whole else moment


def slowdown(streams: Sequence[Stream], began: float, ended: float) -> float:
    """How many times longer the parts of running streams took from `began` to `ended` than before.

    A stream that stood still all the while counts with one part, so that no division is by zero;
    one that came to its end meanwhile counts until then. Raises `ValueError` for one that did not
    run before `began`, or not after it.
    """
    return median(_slowdown(stream, began, ended) for stream in streams)


def _slowdown(stream: Stream, began: float, ended: float) -> float:
    times, until = stream.times, stream.until(ended)
    first, last = bisect_right(times, began), bisect_right(times, ended)
    if first < 2 or until <= began:
        raise ValueError("a stream has to run before and after it is slowed down")
    before_s = (times[first - 1] - times[0]) / (first - 1)
    return (until - began) / max(1, last - first) / before_s


def longest_pause_s(streams: Sequence[Stream], began: float, ended: float) -> float:
    """The longest time within `began` and `ended` in which a running stream said nothing."""
    return max(_longest(stream, began, ended) for stream in streams)


def _longest(stream: Stream, began: float, ended: float) -> float:
    said = (each for each in stream.times if began < each < ended)
    moments = [began, *said, stream.until(ended)]
    return max(later - earlier for earlier, later in pairwise(moments))
