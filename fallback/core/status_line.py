"""How things stand, in one line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fallback.core.ports import EngineStatus
from fallback.core.times import span


class Unwell(NamedTuple):
    """A scope that is not healthy: its name, its state, and for how many seconds."""

    name: str
    state: str
    for_s: float


def status_line(unwell: Sequence[Unwell], local: EngineStatus) -> tuple[bool, str]:
    """Whether all is well, and the line."""
    ready = local.state in ("ready", "idle", "off")
    if not unwell:
        return ready, f"fallback: cloud well, {_standing_by(local)}"
    told = ", ".join(f"{name} {state} {span(for_s)}" for name, state, for_s in unwell)
    return False, f"fallback: {told}; {_answering(local)}"


def _standing_by(local: EngineStatus) -> str:
    return {"off": "local off", "failed": "local NOT ready", "starting": "local loading"}.get(
        local.state, "local ready"
    )


def _answering(local: EngineStatus) -> str:
    if local.state in ("ready", "idle"):
        name = f" ({local.model.name})" if local.model else ""
        return f"local answers{name}"
    return _standing_by(local)
