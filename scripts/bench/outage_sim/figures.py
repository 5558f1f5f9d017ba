"""Episodes of one shape, rate and rule, added up into the figures that are compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import msgspec

from outage_sim.episode import Stage
from outage_sim.rules.base import Rule
from outage_sim.tally import Tally

_DAY_S = 86_400.0


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """Means an episode or an outage; the less the better.

    `detect_s` takes an outage that was never found at its whole length; `found` is the share
    that was. `return_s` is None for who was never away. `named` counts the episodes in which
    that scope was called down.
    """

    episodes: int
    found: float
    detect_s: float | None
    return_s: float | None
    false_downs_a_day: float
    vain: float
    longest_s: float
    attempts: float
    away: float
    named: dict[str, int]


COLUMNS = {
    "detect_s": "detect s",
    "return_s": "return s",
    "false_downs_a_day": "false downs/day",
    "vain": "in vain",
    "longest_s": "longest s",
    "attempts": "attempts",
    "away": "away",
}


def figures(stages: Sequence[Stage], plays: Sequence[tuple[Tally, Rule]]) -> Figures:
    """One rule on all stages."""
    tallies = [tally for tally, _ in plays]
    found, delays = [], []
    for scene, tally in zip(stages, tallies, strict=True):
        for outage, detected_s in zip(scene.outages, tally.detected_s, strict=True):
            if outage.blame != "nobody":
                found.append(detected_s is not None)
                delays.append(outage.end - outage.start if detected_s is None else detected_s)
    span_s = sum(scene.end - scene.start for scene in stages)
    returns = [seconds for tally in tallies for seconds in tally.returned_s if seconds is not None]
    return Figures(
        episodes=len(tallies),
        found=fmean(found) if found else 0.0,
        detect_s=fmean(delays) if delays else None,
        return_s=fmean(returns) if returns else None,
        false_downs_a_day=sum(tally.false_downs for tally in tallies) / (span_s / _DAY_S),
        vain=fmean(tally.vain for tally in tallies),
        longest_s=max(tally.longest_s for tally in tallies),
        attempts=fmean(tally.attempts for tally in tallies),
        away=fmean(tally.away for tally in tallies),
        named=Counter(scope for _, rule in plays for scope in rule.named()),
    )
