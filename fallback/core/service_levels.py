"""What a month was like: availability with us and without, who answered, how fast. Pure.

Rules of this file:
- It counts requests for a model's answer. A request that its client gave up counts for nobody.
- *Without us*: what the upstream itself answered, whole and in its own time. A client's own
  mistake (4xx) was answered; a rate limit or a spent quota (429, 402) was not. Requests that the
  operator's rules keep from the cloud say nothing of it.
- *With us*: what was answered whole by any tier.
- Where a late upstream lost to another tier nobody knows whether it would have answered: it
  counts as not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

_OPERATION = "generate"
_NOT_SERVED = frozenset({402, 429})
_BY_RULE = "policy"
_PERCENTILES = (50, 95, 99)


class Request(NamedTuple):
    """One request, as the ledger tells it. Times in seconds."""

    operation: str | None
    tier: str | None
    upstream: str | None
    model: str | None
    reason: str | None
    status: int | None
    ended: str | None
    duration_s: float | None
    first_content_s: float | None


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream's service with one model ("": all of them). Availabilities are shares of
    `requests`, None where there were none; `of_cloud` those that were meant for the cloud."""

    upstream: str
    model: str
    requests: int
    of_cloud: int
    without_us: float | None
    with_us: float | None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Of one tier's whole answers; seconds by percentile ("p50"), empty where unknown."""

    tier: str
    answers: int
    share: float
    first_content_s: dict[str, float]
    duration_s: dict[str, float]


class Interval(NamedTuple):
    """When a scope was not healthy, in Unix seconds."""

    upstream: str
    started: float
    ended: float


class Outages(msgspec.Struct, frozen=True, kw_only=True):
    """How many, and for how many minutes at least one was on."""

    upstream: str
    count: int
    minutes: float


class Levels(msgspec.Struct, frozen=True, kw_only=True):
    """A report. `unfinished` requests were given up by their clients or ended by a kill; `lost`
    receipts are missing in the ledger, so that the requests they were of are not counted."""

    requests: int
    unfinished: int
    lost: int
    services: tuple[Service, ...]
    tiers: tuple[Latency, ...]
    outages: tuple[Outages, ...]


def levels(requests: Iterable[Request], outages: Sequence[Interval], *, lost: int = 0) -> Levels:
    """The report of these requests, in any order, and outages, cut to the time it is about."""
    seen = Counter[str]()
    total: dict[tuple[str, str], list[int]] = {}
    answers: dict[str, list[Request]] = {}
    for request in requests:
        if request.operation != _OPERATION:
            continue
        if request.ended not in ("complete", "broken"):
            seen["unfinished"] += 1
            continue
        seen["counted"] += 1
        for key in ((request.upstream or "", ""), (request.upstream or "", request.model or "?")):
            _count(total.setdefault(key, [0, 0, 0, 0]), request)
        if _answered(request):
            answers.setdefault(request.tier or "", []).append(request)
    return Levels(
        requests=seen["counted"],
        unfinished=seen["unfinished"],
        lost=lost,
        services=tuple(_service(key, counts) for key, counts in sorted(total.items())),
        tiers=tuple(
            _latency(tier, found, seen["counted"]) for tier, found in sorted(answers.items())
        ),
        outages=_outages(outages),
    )


def _count(counts: list[int], request: Request) -> None:
    """Requests, those answered, those meant for the cloud, those that it answered."""
    of_cloud = request.reason != _BY_RULE or request.tier == "cloud"
    counts[0] += 1
    counts[1] += _answered(request)
    counts[2] += of_cloud
    counts[3] += of_cloud and request.tier == "cloud" and _answered(request)


def _answered(request: Request) -> bool:
    status = request.status or 599
    if request.tier == "none":
        return False
    return request.ended == "complete" and status < 500 and status not in _NOT_SERVED


def _service(key: tuple[str, str], counts: Sequence[int]) -> Service:
    requests, answered, of_cloud, by_cloud = counts
    return Service(
        upstream=key[0],
        model=key[1],
        requests=requests,
        of_cloud=of_cloud,
        without_us=by_cloud / of_cloud if of_cloud else None,
        with_us=answered / requests if requests else None,
    )


def _latency(tier: str, found: Sequence[Request], requests: int) -> Latency:
    firsts = [each.first_content_s for each in found if each.first_content_s is not None]
    wholes = [each.duration_s for each in found if each.duration_s is not None]
    return Latency(
        tier=tier,
        answers=len(found),
        share=len(found) / requests,
        first_content_s=_percentiles(firsts),
        duration_s=_percentiles(wholes),
    )


def _percentiles(values: list[float]) -> dict[str, float]:
    """By the nearest rank: a value that occurred."""
    values.sort()
    return {
        f"p{percent}": values[math.ceil(len(values) * percent / 100) - 1]
        for percent in _PERCENTILES
        if values
    }


def _outages(outages: Sequence[Interval]) -> tuple[Outages, ...]:
    by_upstream: dict[str, list[Interval]] = {}
    for outage in outages:
        by_upstream.setdefault(outage.upstream, []).append(outage)
    return tuple(
        Outages(upstream=name, count=len(found), minutes=_covered_s(found) / 60)
        for name, found in sorted(by_upstream.items())
    )


def _covered_s(intervals: Sequence[Interval]) -> float:
    """Seconds in at least one: a model's outage within its upstream's counts once."""
    covered, until = 0.0, -math.inf
    for _, started, ended in sorted(intervals, key=lambda each: each.started):
        covered += max(0.0, ended - max(started, until))
        until = max(until, ended)
    return covered
