"""The detectors of all scopes, bounded, and what a change of one means for the others.

What has a wider cause is not held against the narrower scope: a lost network absolves the
upstreams that could not be reached, a dead upstream its models.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TypeAlias

from fallback.core.health.detector import Detector
from fallback.core.health.evidence import Case, Evidence
from fallback.core.health.latch import Latch
from fallback.core.health.scope import NETWORK, Scope, upstream_scope
from fallback.core.health.settings import HealthSettings
from fallback.core.health.state import Change, State

Judge: TypeAlias = Detector | Latch

MOST_NAMES = 64
_UNREACHABLE = "unreachable-"


class Registry:
    """One network, some upstreams; per upstream at most 64 model families and 64 credentials
    that evidence was found against."""

    def __init__(
        self,
        upstreams: Iterable[str],
        settings: HealthSettings,
        *,
        now: float,
        on_change: Callable[[Change], None],
        loopback: Container[str],
    ) -> None:
        self._settings = settings
        self._on_change = on_change
        self._loopback = loopback
        self.network = Latch(NETWORK, now=now, on_change=self._changed)
        self.upstreams = {
            name: Detector(upstream_scope(name), settings, now=now, on_change=self._changed)
            for name in upstreams
        }
        self._models: dict[str, dict[str, Detector]] = {name: {} for name in self.upstreams}
        self._keys: dict[str, dict[str, Latch]] = {name: {} for name in self.upstreams}
        self.unwell: set[Scope] = set()

    def __iter__(self) -> Iterator[Judge]:
        yield self.network
        yield from self.upstreams.values()
        for models, keys in zip(self._models.values(), self._keys.values(), strict=True):
            yield from models.values()
            yield from keys.values()

    def needs_network(self, upstream: str) -> bool:
        return upstream not in self._loopback

    def model(self, case: Case) -> Detector | None:
        return self._models[case.upstream].get(case.family)

    def key(self, case: Case) -> Latch | None:
        return self._keys[case.upstream].get(case.credential)

    def judges(self, case: Case) -> Iterator[Judge]:
        """Those who may keep a request from its upstream, the widest first."""
        if self.needs_network(case.upstream):
            yield self.network
        yield self.upstreams[case.upstream]
        if (model := self.model(case)) is not None:
            yield model

    def find(self, scope: Scope) -> Judge | None:
        if scope.kind == "network":
            return self.network
        if scope.kind == "upstream":
            return self.upstreams.get(scope.upstream)
        named = self._models if scope.kind == "model" else self._keys
        return named.get(scope.upstream, {}).get(scope.name)

    def add(self, evidence: Evidence, now: float) -> Judge | None:
        """A judge for a scope that had none; None for an upstream that nobody configured."""
        scope = evidence.scope
        if (upstream := self.upstreams.get(scope.upstream)) is None:
            return None
        if scope.kind == "credential":
            keys = self._keys[scope.upstream]
            _make_room(keys, evidence, now)
            keys[scope.name] = key = Latch(scope, now=now, on_change=self._changed)
            return key
        models = self._models[scope.upstream]
        _make_room(models, evidence, now)
        models[scope.name] = model = Detector(
            scope, self._settings, now=now, on_change=self._changed, like=upstream
        )
        return model

    def forget(self, now: float) -> None:
        """End what is held against models and keys that nobody uses any more: no success of
        theirs will end it."""
        named: list[dict[str, Detector] | dict[str, Latch]]
        named = [*self._models.values(), *self._keys.values()]
        for judges in named:
            for judge in [judge for judge in judges.values() if judge.is_unused(now)]:
                unused = Evidence(
                    scope=judge.scope,
                    source="request",
                    weight=0.0,
                    summary="not used for hours",
                    reason="unused",
                )
                judge.absolve(unused, now)
                judges.pop(judge.scope.name, None)

    def has_wider_cause(self, evidence: Evidence) -> bool:
        """Whether it says no more than what is known of the network."""
        return (
            self.network.state is State.DOWN
            and evidence.weight > 0
            and evidence.reason.startswith(_UNREACHABLE)
            and evidence.scope.kind == "upstream"
            and self.needs_network(evidence.scope.upstream)
        )

    def _changed(self, change: Change) -> None:
        scope = change.scope
        if change.after is State.HEALTHY:
            self.unwell.discard(scope)
            if scope.kind == "credential":
                self._keys[scope.upstream].pop(scope.name, None)
        else:
            self.unwell.add(scope)
        self._on_change(change)
        if change.after is State.DOWN:
            self._absolve(change)

    def _absolve(self, change: Change) -> None:
        if change.scope.kind == "network":
            for name, upstream in self.upstreams.items():
                if self.needs_network(name) and upstream.only_unreachable:
                    upstream.absolve(change.evidence, change.at)
        elif change.scope.kind == "upstream":
            for model in self._models[change.scope.upstream].values():
                if model.state in (State.HEALTHY, State.SUSPECT):
                    model.absolve(change.evidence, change.at)


def _make_room(
    named: dict[str, Detector] | dict[str, Latch], because: Evidence, now: float
) -> None:
    if len(named) < MOST_NAMES:
        return
    name = next((n for n, judge in named.items() if judge.state is State.HEALTHY), None)
    judge = named[name or next(iter(named))]
    judge.absolve(because, now)
    named.pop(judge.scope.name, None)
