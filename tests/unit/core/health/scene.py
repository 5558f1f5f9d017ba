"""Outcomes and evidence to play with, and a board that keeps what it told."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from fallback.core.health import (
    Admission,
    Board,
    Case,
    Change,
    Evidence,
    HealthSettings,
    Scope,
    State,
    upstream_scope,
)
from fallback.core.outcome import AttemptFacts, Failure, Outcome, classify

CLOUD = upstream_scope("cloud")


def status(
    code: int,
    error_type: str | None = None,
    *,
    duration_s: float = 0.0,
    retry_after_s: float | None = None,
) -> Outcome:
    return classify(
        AttemptFacts(
            phase="done",
            status=code,
            error_type=error_type,
            duration_s=duration_s,
            retry_after_s=retry_after_s,
        )
    )


def failure(what: Failure) -> Outcome:
    return classify(AttemptFacts(phase="connect", failure=what))


OK = status(200)
BROKEN = status(503)
OVERLOADED = status(529, "overloaded_error")
REFUSED = failure(Failure.REFUSED)
ALIVE = Evidence(scope=CLOUD, source="probe", weight=0.0, alive=True, summary="answers (401)")
DEAD = Evidence(
    scope=CLOUD,
    source="probe",
    weight=3.0,
    reason="unreachable-refused",
    summary="the provider: connection refused",
)


class Scene:
    """A board with the upstreams `cloud`, `other` and `here` (on loopback), and its clock."""

    def __init__(self, settings: HealthSettings | None = None) -> None:
        self.now = 1_000_000.0
        self.changes: list[Change] = []
        self.board = Board(
            ["cloud", "other", "here"],
            settings or HealthSettings(),
            now=self.now,
            on_change=self.changes.append,
            loopback={"here"},
        )

    def state(self, scope: Scope = CLOUD) -> State:
        return self.board.view(scope, self.now).state

    @property
    def told(self) -> list[str]:
        return [f"{change.scope} {change.after.value}" for change in self.changes]

    def ask(self, outcome: Outcome | None = None, **case: object) -> Admission:
        """One request, which ends with that outcome at once if it may go to the upstream."""
        about = Case(**{"upstream": "cloud", **case})  # type: ignore[arg-type]
        admission = self.board.admit(about, self.now)
        if admission.kind != "closed" and outcome is not None:
            self.board.learn(about, outcome, self.now)
            self.board.release(admission, self.now)
        return admission

    def after(self, seconds: float) -> Scene:
        self.now += seconds
        return self

    def signal(self, evidence: Evidence) -> None:
        self.board.record(evidence, self.now)

    def warm(self, share: float = 0.0, *, requests: int = 1000, gap_s: float = 1.0) -> None:
        """A past of so many requests, of which a share failed."""
        rng = random.Random(1)
        for _ in range(requests):
            self.after(gap_s).ask(BROKEN if rng.random() < share else OK)

    def take_down(self, outcome: Outcome = BROKEN) -> None:
        """As after an outage's first requests, a minute apart."""
        for _ in range(10):
            if self.state() is State.DOWN:
                return
            self.after(60.0).ask(outcome)
        raise AssertionError(f"it never went down: {self.told}")


def requests_until_down(
    scene: Scene, outcomes: Iterable[Outcome], *, gap_s: float, limit: int = 5000
) -> int | None:
    """How many requests were sent before the board closed; None if it did not."""
    for sent, outcome in zip(range(limit), outcomes, strict=False):
        if scene.after(gap_s).ask(outcome).kind != "open":
            return sent
    return None


def mixed(share: float, *, seed: int = 0, bad: Outcome = BROKEN) -> Iterable[Outcome]:
    """Endless outcomes of which a share fails, independently."""
    rng = random.Random(seed)
    draw: Callable[[], float] = rng.random
    while True:
        yield bad if draw() < share else OK
