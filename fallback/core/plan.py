"""The operator's rules and the health -> the plan for one request. Pure."""

from __future__ import annotations

import functools

import msgspec

from fallback.core.health import Admission
from fallback.core.policy import LOCAL_OPERATIONS, Tier, Treatment
from fallback.core.routing import INFERENCE, Operation


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One tier to try. `upstream` is named for an alternate."""

    tier: Tier
    upstream: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """Tiers in order, maybe none. `skipped` says why the cloud is not among them."""

    steps: tuple[Step, ...]
    skipped: str | None = None


def plan(
    treatment: Treatment,
    operation: Operation,
    admission: Admission,
    *,
    local: bool,
    stale: bool = False,
    alternates: tuple[str, ...] = (),
) -> Plan:
    """`local`: the operator lets a local model answer at all, and the request's body is whole.
    `stale`: an earlier answer would do. `alternates`: the upstreams that may stand in, in order."""
    may_local = local and operation in LOCAL_OPERATIONS and treatment.local_reason is None
    if operation not in INFERENCE and not may_local:
        # It may well be answered while no model is, and by nobody else.
        return _CLOUD
    return _plan(
        treatment.tiers,
        alternates if operation == "generate" else (),
        _skipped(treatment, admission),
        may_local,
        stale and operation == "generate",
    )


_CLOUD = Plan(steps=(Step(tier="cloud"),))


def _skipped(treatment: Treatment, admission: Admission) -> str | None:
    """Why the cloud is not to be asked."""
    if admission.kind == "closed":
        return admission.reason
    if admission.held_s > 0 and treatment.on_rate_limit == "next":
        return "rate-limited"
    return None


@functools.lru_cache(maxsize=256)
def _plan(
    tiers: tuple[Tier, ...],
    alternates: tuple[str, ...],
    skipped: str | None,
    may_local: bool,
    may_stale: bool,
) -> Plan:
    steps: list[Step] = []
    for tier in tiers:
        if tier == "cloud" and skipped is None:
            steps.append(Step(tier="cloud"))
        elif tier == "alternate":
            steps += [Step(tier="alternate", upstream=name) for name in alternates]
        elif tier == "stale" and may_stale:
            steps.append(Step(tier="stale"))
        elif tier == "local" and may_local:
            steps.append(Step(tier="local"))
    return Plan(steps=tuple(steps), skipped=skipped)
