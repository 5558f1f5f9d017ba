"""How much of this machine keeping conversations warm may take now, and why not more. Pure.

Rules of this file:
- The operator's word on the battery holds whatever happens.
- While others want the processor, they have it: below `_QUIET` it goes on, above `_BUSY` it stops.
- Both are forgotten while the cloud is suspect, but for the battery: then it may take everything.
"""

from __future__ import annotations

import msgspec

_BUSY, _QUIET = 0.6, 0.4
_MEMORY_SHARE = 0.05


class StandbySettings(msgspec.Struct, frozen=True, kw_only=True):
    """The operator's budget. `cpu` is a share of all cores, `memory_bytes` for the states that the
    engine keeps. The clamps are those of the local tier's requests."""

    cpu: float
    memory_bytes: int
    on_battery: bool
    max_tokens: int
    prompt_budget_tokens: int | None


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """This machine now: `others_cpu` is the share of all cores that others than the engine took
    lately, `free_memory` the share that is available."""

    on_battery: bool = False
    others_cpu: float = 0.0
    free_memory: float = 1.0


class Permit(msgspec.Struct, frozen=True, kw_only=True):
    """The share of all cores that may be taken, 0 to 1; where it is 0, `why` in words."""

    cpu: float
    why: str = ""


def permit(settings: StandbySettings, machine: Machine, before: Permit, *, suspect: bool) -> Permit:
    """`before` is the last permit: what was stopped for others goes on only when it is quiet."""
    if machine.on_battery and not settings.on_battery:
        return Permit(cpu=0.0, why="this machine runs on battery")
    if suspect:
        return Permit(cpu=1.0)
    if machine.free_memory < _MEMORY_SHARE:
        return Permit(cpu=0.0, why="memory is short")
    limit = _BUSY if before.cpu > 0 else _QUIET
    if machine.others_cpu > limit:
        return Permit(cpu=0.0, why="other programs use the processor")
    return Permit(cpu=settings.cpu)
