"""The states of a scope, and what others may know of them."""

from __future__ import annotations

import datetime
import re
from enum import Enum

import msgspec

from fallback.core.health.evidence import Evidence
from fallback.core.health.scope import Scope


class State(Enum):
    """From well to unwell and back; the table in `detector` says what leads where."""

    HEALTHY = "healthy"
    SUSPECT = "suspect"
    DOWN = "down"
    RECOVERING = "recovering"


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the story of a scope."""

    at: float
    text: str


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """The state, since when, the outage's id, and the story so far."""

    state: State
    since: float
    outage: str | None
    score: float
    story: tuple[Remark, ...]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change of state. `outage` is the one under way after it, `ended` the one that ended
    with it; `evidence` tipped the scale."""

    scope: Scope
    before: State
    after: State
    at: float
    outage: str | None
    ended: str | None
    evidence: Evidence
    view: HealthView


def outage_id(scope: Scope, started: float) -> str:
    """`out-<scope>-<UTC start>`: says at a glance what and when, and needs no randomness. It can
    stand in URLs and headers, whatever name a client gave the model."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", str(scope))
    start = datetime.datetime.fromtimestamp(started, datetime.UTC)
    return f"out-{name}-{start:%Y%m%dT%H%M%SZ}"
