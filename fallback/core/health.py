"""The health of one upstream: evidence in, state out.

Rules of this file:
- Evidence is the only thing that moves the state; time is an argument (Unix seconds that never
  go back), randomness is an argument.
- Evidence adds up and decays: a CUSUM with a half-life, so that a few failures in a row are
  enough at one request a minute, while a windowed failure ratio decides at high rates.
- `down` ends only by evidence of life (a probe, or a request that was under way): then one
  real request at a time is let through as a canary, with a lease, so that a lost one never
  blocks the return.

CUSUM: E. S. Page, "Continuous inspection schemes", Biometrika 41 (1954).
"""

from __future__ import annotations

import datetime
from collections import deque
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from fallback.core.units import Ratio, Score, Seconds

_WINDOW = 4096


class State(Enum):
    """See the table `_NEXT` for what leads where."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    DOWN = "down"
    RECOVERING = "recovering"


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """One fact about an upstream. `weight` as in `core.outcome`; `alive` marks a sign of life
    that proves only the edge (a probe, a list of models), not that models answer."""

    source: Literal["request", "probe"]
    weight: float
    summary: str
    alive: bool = False


class HealthSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults did well in simulation; scores are in units of evidence weight."""

    half_life_s: Seconds = 300.0
    suspect_score: Score = 2.0
    down_score: Score = 6.0
    window_s: Seconds = 10.0
    window_outcomes: Annotated[int, Meta(gt=0, le=_WINDOW)] = 20
    window_failure_ratio: Ratio = 0.5
    canary_lease_s: Seconds = 30.0
    probe_first_s: Seconds = 5.0
    probe_cap_s: Seconds = 300.0


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the story that `explain` tells."""

    at: float
    text: str


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """What others may know: the state, since when, the outage's id, and the story so far."""

    state: State
    since: float
    outage: str | None
    score: float
    story: tuple[Remark, ...]


Admission: TypeAlias = Literal["open", "canary", "closed"]
_Signal: TypeAlias = Literal["bad", "worse", "alive", "good", "calm"]

_NEXT: dict[tuple[State, _Signal], State] = {
    (State.HEALTHY, "bad"): State.SUSPECT,
    (State.HEALTHY, "worse"): State.DOWN,
    (State.SUSPECT, "worse"): State.DOWN,
    (State.SUSPECT, "calm"): State.HEALTHY,
    (State.DOWN, "alive"): State.RECOVERING,
    (State.DOWN, "good"): State.RECOVERING,
    (State.RECOVERING, "good"): State.HEALTHY,
    (State.RECOVERING, "bad"): State.DOWN,
    (State.RECOVERING, "worse"): State.DOWN,
}

_STORY_LINES = 20


class Detector:
    """The health of one scope. Not thread-safe; owned by the event loop."""

    def __init__(self, scope: str, settings: HealthSettings, *, now: float) -> None:
        self.scope = scope
        self._settings = settings
        self._state = State.HEALTHY
        self._since = now
        self._score = 0.0
        self._scored_at = now
        self._window: deque[tuple[float, bool]] = deque(maxlen=_WINDOW)
        self._outage: str | None = None
        self._story: deque[Remark] = deque(maxlen=_STORY_LINES)
        self._canary_until = 0.0
        self._relapses = 0

    def __repr__(self) -> str:
        return f"<Detector {self.scope} {self._state.value} score={self._score:.2f}>"

    @property
    def state(self) -> State:
        return self._state

    def view(self, now: float) -> HealthView:
        """A snapshot; the score is as decayed by `now`."""
        return HealthView(
            state=self._state,
            since=self._since,
            outage=self._outage,
            score=self._decayed(now),
            story=tuple(self._story),
        )

    def admit(self, now: float, *, infers: bool = True) -> Admission:
        """May a request go to this upstream? `canary` takes the one lease there is, which is for
        requests that infer: no other can prove that inference is back."""
        if self._state in (State.HEALTHY, State.SUSPECT):
            return "open"
        if infers and self._state is State.RECOVERING and now >= self._canary_until:
            self._canary_until = now + self._settings.canary_lease_s
            return "canary"
        return "closed"

    def release_canary(self, admitted: float) -> None:
        """The canary that was admitted then ended without evidence (its client left): the next
        one may go at once, unless that one's lease had run out and another is under way."""
        if self._canary_until == admitted + self._settings.canary_lease_s:
            self._canary_until = 0.0

    def record(self, evidence: Evidence, now: float) -> bool:
        """Fold one piece of evidence in; True if the state changed.

        Success without anything to forgive is the healthy path: it leaves at once.
        """
        self._prune(now)
        quiet = evidence.weight <= 0 and self._score == 0.0 and self._state is State.HEALTHY
        if quiet and not self._window:
            return False
        self._score = max(0.0, self._decayed(now) + evidence.weight)
        self._scored_at = now
        if evidence.source == "request" and evidence.weight != 0:
            self._window.append((now, evidence.weight > 0))
        changed = self._apply(self._signal(evidence), evidence, now)
        if evidence.weight > 0 and not changed:
            self._remark(now, evidence.summary)
        return changed

    def probe_delay_s(self, attempt: int, jitter: float) -> float:
        """Seconds until probe number `attempt` (from 0): equal jitter, `jitter` in [0, 1).

        Every canary that failed after a good probe doubles the wait once more: an edge that
        lives proves nothing about inference.

        Source: "Exponential Backoff And Jitter", AWS Architecture Blog (2015).
        """
        exponent = min(attempt + self._relapses, 16)
        doubled = self._settings.probe_first_s * float(2**exponent)
        ceiling = min(self._settings.probe_cap_s, doubled)
        return ceiling / 2 + jitter * ceiling / 2

    def _signal(self, evidence: Evidence) -> _Signal | None:
        if evidence.weight > 0:
            worse = self._score >= self._settings.down_score or self._window_is_bad()
            if worse:
                return "worse"
            recovering = self._state is State.RECOVERING and evidence.source == "request"
            return "bad" if recovering or self._score >= self._settings.suspect_score else None
        if evidence.alive:
            return "calm" if self._is_calm() else "alive"
        if evidence.weight < 0:
            needs_proof = self._state in (State.DOWN, State.RECOVERING)
            if needs_proof:
                return "good"
            return "calm" if self._is_calm() else None
        return None

    def _is_calm(self) -> bool:
        """Suspicion has decayed and nothing came to confirm it."""
        return self._state is State.SUSPECT and self._score < self._settings.suspect_score

    def _apply(self, signal: _Signal | None, evidence: Evidence, now: float) -> bool:
        if signal is None or (target := _NEXT.get((self._state, signal))) is None:
            return False
        before, self._state = self._state, target
        self._remark(now, f"{before.value} -> {target.value}: {evidence.summary}")
        self._since = now
        if before is State.RECOVERING:
            self._relapses = self._relapses + 1 if target is State.DOWN else 0
            self._window.clear()
        if target is State.HEALTHY:
            self._score, self._outage = 0.0, None
        elif self._outage is None:
            self._outage = outage_id(self.scope, now)
        if target is State.DOWN:
            # Coming back needs fresh proof: what was bad enough stays bad enough.
            self._score = max(self._score, self._settings.down_score)
        self._canary_until = 0.0
        return True

    def _decayed(self, now: float) -> float:
        elapsed = max(0.0, now - self._scored_at)
        score = self._score * float(2.0 ** (-elapsed / self._settings.half_life_s))
        return score if score > 0.01 else 0.0

    def _prune(self, now: float) -> None:
        while self._window and self._window[0][0] < now - self._settings.window_s:
            self._window.popleft()

    def _window_is_bad(self) -> bool:
        total = len(self._window)
        failures = sum(failed for _, failed in self._window)
        return (
            total >= self._settings.window_outcomes
            and failures / total >= self._settings.window_failure_ratio
        )

    def _remark(self, at: float, text: str) -> None:
        self._story.append(Remark(at=at, text=text))


def outage_id(scope: str, started: float) -> str:
    """`out-<scope>-<UTC start>`: says at a glance what and when, and needs no randomness."""
    start = datetime.datetime.fromtimestamp(started, datetime.UTC)
    return f"out-{scope}-{start:%Y%m%dT%H%M%SZ}"


class Board:
    """The detectors of all upstreams. `on_change` hears of every change of state, at once."""

    def __init__(
        self,
        upstreams: Iterable[str],
        settings: HealthSettings,
        *,
        now: float,
        on_change: Callable[[str, HealthView], None] = lambda upstream, view: None,
    ) -> None:
        self._detectors = {name: Detector(name, settings, now=now) for name in upstreams}
        self._on_change = on_change

    def __getitem__(self, upstream: str) -> Detector:
        return self._detectors[upstream]

    def record(self, upstream: str, evidence: Evidence, now: float) -> None:
        """Fold evidence about one upstream in."""
        detector = self._detectors[upstream]
        if detector.record(evidence, now):
            self._on_change(upstream, detector.view(now))

    def views(self, now: float) -> dict[str, HealthView]:
        return {name: detector.view(now) for name, detector in self._detectors.items()}
