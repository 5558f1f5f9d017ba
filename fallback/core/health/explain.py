"""The health of a scope in plain words, for a person who was woken by it."""

from __future__ import annotations

import datetime

from fallback.core.health.detector import Detector
from fallback.core.health.latch import Latch
from fallback.core.health.scope import Scope
from fallback.core.health.state import State
from fallback.core.times import span

_HEADLINES = {
    State.HEALTHY: "{name} is well.",
    State.SUSPECT: "{name} may be in trouble since {since} ({span}); requests still go there.",
    State.DOWN: "{name} is down since {since} ({span}); requests do not wait for it.",
    State.RECOVERING: "{name} seems to come back; it is being tried out since {since} ({span}).",
}
_STORY_LINES = 5


def explain(scope: Scope, judge: Detector | Latch | None, now: float) -> tuple[str, ...]:
    """The state, what it rests on, what comes next, and the last events. Times are UTC."""
    if judge is None:
        return (f"{name_of(scope)} is well: nothing was ever held against it.",)
    headline = _HEADLINES[judge.state].format(
        name=name_of(scope), since=_clock(judge.since), span=span(now - judge.since)
    )
    more = _detector(judge, now) if isinstance(judge, Detector) else _latch(judge)
    story = [f"{_clock(r.at)} {r.text}" for r in judge.view(now).story[-_STORY_LINES:]]
    return (headline, *more, *story)


def name_of(scope: Scope) -> str:
    """How people call it."""
    if scope.kind == "network":
        return "The network of this machine"
    if scope.kind == "credential":
        return f"The key {scope.name} at {scope.upstream}"
    return (
        f"The model {scope.name} at {scope.upstream}" if scope.kind == "model" else scope.upstream
    )


def _detector(detector: Detector, now: float) -> list[str]:
    lines = [_normal(detector)]
    if detector.reasons:
        seen = ", ".join(f"{reason} ({count})" for reason, count in detector.reasons.items())
        lines.append(f"Held against it: {seen}.")
    if detector.state is State.SUSPECT:
        more = detector.suspicion.more_failures(now)
        lines.append(f"It is called down after {more} more failed requests in a row, or so.")
    if detector.state in (State.DOWN, State.RECOVERING):
        lines.append(_next_step(detector, now))
    if detector.recovery.relapses:
        lines.append(f"It has failed again {detector.recovery.relapses} times soon after a return.")
    return lines


def _normal(detector: Detector) -> str:
    background = detector.suspicion.background
    return f"While it is well, about {background.ratio:.1%} of its requests fail."


def _next_step(detector: Detector, now: float) -> str:
    wait = detector.recovery.canary_at - now
    if detector.state is State.RECOVERING and wait <= 0:
        return "The next request tries it, with another tier beside it; success lets more pass."
    when = f"in {span(wait)}" if wait > 0 else "now"
    if detector.recovery.edge is False:
        return f"Its edge does not answer: free probes go on, a real request may try it {when}."
    return f"Only a real request can tell whether it is back: the next one may try {when}."


def _latch(latch: Latch) -> list[str]:
    if latch.state is State.HEALTHY:
        return []
    if latch.scope.kind == "network":
        return ["No upstream is blamed for what cannot be reached; any answer from one ends this."]
    return ["The provider refuses it. Requests still pass; only its owner can mend it."]


def _clock(at: float) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%H:%M:%S")
