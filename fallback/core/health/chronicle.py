"""The state of one scope, its outage and its story: what all detectors have in common."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Literal, TypeAlias

from fallback.core.health.evidence import Evidence
from fallback.core.health.scope import Scope
from fallback.core.health.state import Change, HealthView, Remark, State, outage_id

Gate: TypeAlias = Literal["open", "canary", "closed"]

UNUSED_S = 6 * 3_600.0
"""Nobody asks for a model, or with a key, of which nothing was heard for so long."""

_STORY_LINES = 20


class Chronicle:
    """`on_change` hears of every change of state, at once."""

    def __init__(self, scope: Scope, *, now: float, on_change: Callable[[Change], None]) -> None:
        self.scope = scope
        self.state = State.HEALTHY
        self.since = now
        self.outage: str | None = None
        self.outage_since = now
        self._on_change = on_change
        self._story: deque[Remark] = deque(maxlen=_STORY_LINES)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.scope} {self.state.value}>"

    def score(self, now: float) -> float:
        """The share of the evidence that is enough for `down`."""
        raise NotImplementedError

    def view(self, now: float) -> HealthView:
        """A snapshot."""
        return HealthView(
            state=self.state,
            since=self.since,
            outage=self.outage,
            score=1.0 if self.state is State.DOWN else self.score(now),
            story=tuple(self._story),
        )

    def _turn(self, target: State, evidence: Evidence, now: float) -> None:
        """Enter another state, tell the story and the listener."""
        before, ended = self.state, None
        if target is State.HEALTHY:
            ended, self.outage = self.outage, None
        elif self.outage is None:
            self.outage, self.outage_since = outage_id(self.scope, now), now
        self.state, self.since = target, now
        self._remark(now, f"{before.value} -> {target.value}: {evidence.summary}")
        self._on_change(
            Change(
                scope=self.scope,
                before=before,
                after=target,
                at=now,
                outage=self.outage,
                ended=ended,
                evidence=evidence,
                view=self.view(now),
            )
        )

    def _remark(self, at: float, text: str) -> None:
        self._story.append(Remark(at=at, text=text))
