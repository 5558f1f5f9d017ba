"""The operator's rules and the health -> the plan for one request. Pure."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fallback.core.health import Admission
from fallback.core.routing import Operation
from fallback.core.units import Seconds

Tier: TypeAlias = Literal["cloud", "local"]

LOCAL_OPERATIONS: frozenset[Operation] = frozenset(
    {"generate", "count_tokens", "models", "model", "hello"}
)


class Deadlines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long each phase of an attempt may take, in seconds.

    `first_byte_s` (headers) and `first_content_s` (first content event) count from the start
    of the attempt and hold for streams; `whole_s` for answers that come in one piece, whose
    headers are sent only when the model has finished. `stall_s` is the longest silence inside
    an answer. `canary_s` replaces the first two while an upstream is recovering, so that its
    first visitor does not wait for a cloud that is still silent. `alone_s` replaces them all,
    but `stall_s`, where no other tier may answer: to cut a slow answer short would help nobody.
    """

    connect_s: Seconds = 3.0
    first_byte_s: Seconds = 20.0
    first_content_s: Seconds = 60.0
    whole_s: Seconds = 120.0
    stall_s: Seconds = 45.0
    canary_s: Seconds = 8.0
    alone_s: Seconds = 600.0


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One tier to try. `canary`: the attempt decides about the upstream's return. `alone`: no
    other tier may answer."""

    tier: Tier
    canary: bool = False
    alone: bool = False


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Tiers in order. `skipped` says why the cloud is not among them."""

    steps: tuple[Step, ...]
    skipped: str | None = None

    @property
    def has_local(self) -> bool:
        return any(step.tier == "local" for step in self.steps)


_CLOUD_ONLY = Plan(steps=(Step(tier="cloud", alone=True),))
_CLOUD_THEN_LOCAL = Plan(steps=(Step(tier="cloud"), Step(tier="local")))
_CANARY_THEN_LOCAL = Plan(steps=(Step(tier="cloud", canary=True), Step(tier="local")))
_LOCAL_ONLY = Plan(steps=(Step(tier="local"),), skipped="upstream-down")


def plan(operation: Operation, admission: Admission, *, local: bool) -> Plan:
    """`local`: the operator lets a local model answer at all.

    What only the cloud can answer is always tried there: a request that would fail anyway
    costs its sender nothing more.
    """
    if not local or operation not in LOCAL_OPERATIONS:
        return _CLOUD_ONLY
    if admission == "open":
        return _CLOUD_THEN_LOCAL
    if admission == "canary":
        return _CANARY_THEN_LOCAL
    return _LOCAL_ONLY
