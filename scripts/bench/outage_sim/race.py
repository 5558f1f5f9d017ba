"""One attempt and the local tier beside it: who answers, when, and what is known of the cloud."""

from __future__ import annotations

import msgspec

from fallback.core.outcome import AttemptFacts, Failure
from fallback.core.policy import Deadlines
from outage_sim.world import Fault

LOCAL_TTFT_S = 1.0
_DEADLINES = Deadlines()


def race(met: Fault | float, *, hedge_s: float, grace_s: float) -> tuple[AttemptFacts, float]:
    """What the attempt tells, and how much later the first content comes than from the local
    tier alone, in seconds. The local tier starts at `hedge_s` and wins from `grace_s` on."""
    local_s = max(hedge_s + LOCAL_TTFT_S, grace_s)
    if isinstance(met, Fault):
        failed_s = min(met.after_s, _DEADLINES.first_byte_s)
        if failed_s <= local_s:
            return msgspec.structs.replace(met.facts, duration_s=failed_s), min(failed_s, hedge_s)
        return _hedged(None, local_s), local_s - LOCAL_TTFT_S
    limit_s = _DEADLINES.first_content_s
    if met <= min(local_s, limit_s):
        facts = AttemptFacts(phase="done", status=200, duration_s=met)
        return facts, max(0.0, met - LOCAL_TTFT_S)
    if local_s <= limit_s:
        return _hedged(200, local_s), local_s - LOCAL_TTFT_S
    return AttemptFacts(phase="content", failure=Failure.TIMEOUT, duration_s=limit_s), limit_s


def _hedged(status: int | None, after_s: float) -> AttemptFacts:
    """The local tier was first: of the cloud is only known that it had no content so far."""
    return AttemptFacts(
        phase="headers" if status is None else "content",
        status=status,
        failure=Failure.HEDGED,
        duration_s=after_s,
    )
