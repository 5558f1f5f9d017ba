"""An outage told to its provider: what a claim under an SLA needs, as Markdown or JSON.

Rules of this file:
- Times are UTC, ISO 8601. All figures were observed; nothing is extrapolated.
- No error message of an answer to a client's request is quoted, since something of the request
  may stand in it: status, type, timing and the provider's own id of the request tell enough.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from fallback.core.outages.record import FailedAttempt, Outage, RequestCounts
from fallback.core.outages.timeline import timeline

FAULT = {
    "network": "the network of the observing machine or its proxy; no provider is at fault",
    "credential": "one key, which the provider refuses",
    "upstream": "the provider: its endpoint did not serve requests",
    "model": "the provider: its endpoint did not serve this model",
}
_END = {
    "on": "not yet",
    "unknown": "unknown: the observing service stopped; last seen unwell at {last_known}",
    "withdrawn": "{last_known}; withdrawn, it was an outage of {cause}",
    "ended": "{last_known}",
}
METHOD = (
    "Passive observation of real requests by a proxy in front of the endpoint: HTTP status, "
    "error type and duration of each attempt as received; an attempt failed if no complete, valid "
    "answer came in time. Beside them keyless probes of the endpoint (GET /v1/models) while it "
    "was unwell. It began when the evidence added up to a suspicion, and ended when real requests "
    "were answered again; attempts that failed in the five minutes before and led to it are "
    "counted. All times are UTC by the observing machine's clock."
)
_COLUMNS = (
    "request began",
    "operation",
    "model",
    "outcome",
    "HTTP status",
    "error type",
    "after s",
    "request id",
)


def iso(at: float) -> str:
    """Unix seconds as UTC in ISO 8601, to the millisecond."""
    time = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def as_json(outage: Outage, *, now: float) -> dict[str, Any]:
    """The report as JSON types; `now` is when it is written."""
    return {
        "outage": outage.id,
        "written": iso(now),
        "observed_by": outage.software,
        "scope": msgspec.to_builtins(outage.scope),
        "endpoint": outage.endpoint or None,
        "at_fault": FAULT[outage.scope.kind],
        "began": iso(outage.started),
        "ended": None if outage.ended is None else iso(outage.ended),
        "phase": outage.phase(now),
        "cause": None if outage.cause is None else str(outage.cause),
        "last_known": iso(outage.last_known),
        "lasted_s": round(outage.lasted_s, 3),
        "spent_s": {state: round(s, 3) for state, s in outage.spent_s.items()},
        "attempts": msgspec.to_builtins(outage.attempts),
        "requests": msgspec.to_builtins(outage.requests),
        "timeline": [
            {"at": iso(event.at), "what": event.text} for event in timeline(outage, quoting=False)
        ],
        "failed_attempts": [_attempt(failure) for failure in outage.failures],
        "failed_attempts_not_listed": outage.failures.omitted,
        "method": METHOD,
    }


def markdown(outage: Outage, *, now: float) -> str:
    """The same for people."""
    events = timeline(outage, quoting=False)
    sections = [
        (f"# Outage of {outage.scope}, {iso(outage.started)}", _summary(outage, now)),
        ("## Attempts at the endpoint", _attempts(outage)),
        ("## Requests of clients", [requests_in_words(outage.requests)]),
        ("## Timeline (UTC)", _table(("time", "what"), ((iso(e.at), e.text) for e in events))),
        ("## Method of measurement", [METHOD]),
    ]
    return "\n".join("\n".join((title, "", *lines, "")) for title, lines in sections)


def counted(counts: dict[str, int]) -> str:
    """`529: 4, 200: 1`, the most frequent first."""
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{key}: {count}" for key, count in ordered) or "none"


def requests_in_words(requests: RequestCounts) -> str:
    """How many were affected, and who answered them."""
    text = (
        f"{requests.affected} affected: answered by {counted(requests.answered)}; "
        f"without a whole answer {requests.failed}."
    )
    if requests.first_contents:
        mean_s = requests.first_content_total_s / requests.first_contents
        text += (
            f" First content after {mean_s:.1f} s on average, "
            f"{requests.first_content_max_s:.1f} s at most."
        )
    return text


def _summary(outage: Outage, now: float) -> list[str]:
    end = _END[outage.phase(now)].format(last_known=iso(outage.last_known), cause=outage.cause)
    spent = (f"{state} {spent_s:.0f} s" for state, spent_s in outage.spent_s.items() if spent_s)
    rows = [
        ("outage", outage.id),
        ("endpoint", outage.endpoint or "none in particular"),
        ("at fault", FAULT[outage.scope.kind]),
        ("began", iso(outage.started)),
        ("ended", end),
        ("lasted", f"{datetime.timedelta(seconds=round(outage.lasted_s))} ({', '.join(spent)})"),
        ("observed by", outage.software),
        ("report written", iso(now)),
    ]
    return _table(("", ""), rows)


def _attempts(outage: Outage) -> list[str]:
    attempts, failures = outage.attempts, outage.failures
    lines = [
        f"{attempts.made} made, {attempts.failed} failed, {attempts.slow} too slow.",
        "",
        f"- by outcome: {counted(attempts.reasons)}",
        f"- by HTTP status: {counted(attempts.statuses)}",
    ]
    if not len(failures):
        return lines
    listed = f"{len(failures) - failures.omitted} of {len(failures)}"
    title = f"Of those that failed or were too slow, {listed}, with the provider's request ids:"
    rows = (_attempt(failure).values() for failure in failures)
    cells = (("-" if value is None else str(value) for value in row) for row in rows)
    return [*lines, "", title, "", *_table(_COLUMNS, cells)]


def _attempt(failure: FailedAttempt) -> dict[str, Any]:
    return {
        "request_began": iso(failure.at),
        "operation": failure.operation,
        "model": failure.model,
        "outcome": failure.reason,
        "status": failure.status,
        "error_type": failure.error_type,
        "after_s": round(failure.duration_s, 3),
        "request_id": failure.request_id,
    }


def _table(columns: Sequence[str], rows: Iterable[Iterable[str]]) -> list[str]:
    return [_line(columns), _line(["---"] * len(columns)), *map(_line, rows)]


def _line(cells: Iterable[str]) -> str:
    # Names of models come from clients: none may break out of its cell.
    safe = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(safe)} |"
