"""What happened in an outage, in order, in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import msgspec

from fallback.core.outages.ends import Ends
from fallback.core.outages.record import EvidenceLine, Outage, Transition

_T = TypeVar("_T", Transition, EvidenceLine)


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a timeline. `at` is Unix seconds."""

    at: float
    text: str


def timeline(outage: Outage, *, quoting: bool) -> list[Event]:
    """Changes of state and evidence as kept, in order. `quoting` repeats the error messages of
    answers to clients' requests, which may hold something of a request; else their reason
    stands for them."""
    tipped = {(change.at, change.why) for change in outage.transitions}

    def change(item: Transition) -> str:
        why = item.why if quoting or item.source != "request" else item.reason
        return f"{item.before.value} -> {item.after.value} ({item.source}: {why})"

    def line(item: EvidenceLine) -> str | None:
        if (item.at, item.text) in tipped:
            return None
        what = item.text if quoting or item.source != "request" else item.reason
        return f"{item.source}: {what}{'' if item.against else ' (sign of life)'}"

    events = [
        *_events(outage.evidence, line),
        *_events(outage.status_page, line),
        *_events(outage.transitions, change),
    ]
    return sorted(events, key=lambda event: event.at)


def _events(ends: Ends[_T], tell: Callable[[_T], str | None]) -> Iterator[Event]:
    for item in ends.first:
        if (text := tell(item)) is not None:
            yield Event(at=item.at, text=text)
    if ends.omitted:
        yield Event(at=ends.first[-1].at, text=f"... {ends.omitted} more, not kept")
    for item in ends.last:
        if (text := tell(item)) is not None:
            yield Event(at=item.at, text=text)
