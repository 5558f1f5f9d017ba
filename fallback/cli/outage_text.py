"""Outages in words and tables, for a person: times are local, with their zone."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from fallback.core.times import span

if TYPE_CHECKING:
    from rich.table import Table

    from fallback.core.outages import Outage


_PHASES = {"ended": "over", "withdrawn": "withdrawn", "unknown": "end unknown"}


def local(at: float) -> str:
    """Unix seconds as local time, with the zone."""
    return datetime.datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def table(outages: Sequence[Outage], *, now: float) -> Table:
    """One row each."""
    from rich.table import Table

    from fallback.core.outages.report import counted

    shown = Table("outage", "began", "lasted", "worst", "now", "requests", box=None, pad_edge=False)
    for outage in outages:
        requests = outage.requests
        by = requests.answered | ({"nobody": requests.failed} if requests.failed else {})
        answered = f" ({counted(by)})" if by else ""
        shown.add_row(
            outage.id,
            local(outage.started),
            span(outage.lasted_s),
            outage.worst.value,
            _now(outage, now),
            f"{requests.affected}{answered}",
        )
    return shown


def lines(outage: Outage, *, now: float) -> Iterator[str]:
    """What, since when, whose fault, the evidence in order, and who was answered by whom."""
    from fallback.core.outages.report import FAULT, counted, requests_in_words
    from fallback.core.outages.timeline import timeline

    attempts = outage.attempts
    spent = ", ".join(f"{state} {span(spent_s)}" for state, spent_s in outage.spent_s.items())
    yield f"{outage.scope}: {_now(outage, now)} [{outage.id}]"
    yield f"  from      {local(outage.started)}"
    yield f"  to        {_end(outage, now)}"
    yield f"  lasted    {span(outage.lasted_s)} ({spent})"
    yield f"  at fault  {FAULT[outage.scope.kind]}"
    if outage.endpoint:
        yield f"  endpoint  {outage.endpoint}"
    yield f"  requests  {requests_in_words(outage.requests)}"
    yield f"            because of {counted(outage.requests.reasons)}"
    yield f"  attempts  {attempts.made} made, {attempts.failed} failed, {attempts.slow} too slow"
    yield f"            came to {counted(attempts.reasons)}; HTTP {counted(attempts.statuses)}"
    yield ""
    for event in timeline(outage, quoting=True):
        yield f"{local(event.at)}  {event.text}"
    yield ""


def failures(outage: Outage) -> Table:
    """The attempts that failed or were too slow, as far as they are kept."""
    from rich.table import Table

    columns = ("request began", "model", "outcome", "status", "type", "after", "provider's id")
    shown = Table(*columns, box=None, pad_edge=False)
    for failure in outage.failures:
        shown.add_row(
            local(failure.at),
            failure.model or "-",
            failure.reason,
            "-" if failure.status is None else str(failure.status),
            failure.error_type or "-",
            f"{failure.duration_s:.2f} s",
            failure.request_id or "-",
        )
    if outage.failures.omitted:
        shown.caption = f"{outage.failures.omitted} more in between are not kept"
    return shown


def _now(outage: Outage, now: float) -> str:
    phase = outage.phase(now)
    return outage.state.value if phase == "on" else _PHASES[phase]


def _end(outage: Outage, now: float) -> str:
    last = local(outage.last_known)
    match outage.phase(now):
        case "on":
            return f"it is on, last looked at {last}"
        case "unknown":
            return f"unknown: the service stopped; last seen unwell {last}"
        case "withdrawn":
            return f"{last}, withdrawn: it was an outage of {outage.cause}"
        case _:
            return last
