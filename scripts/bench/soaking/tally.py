"""What became of the requests -> figures, verdicts, Markdown. Pure: times are arguments.

Rules of this file:
- A request is *lost* unless it was answered whole, refused with the time to come again (503 with
  `Retry-After`), or left by its own client.
- The wait of a critical request counts unless a worker was being replaced during it: that costs
  what a start costs, whoever waits. Such waits are told by themselves.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from soaking.mix import CRITICAL

Fate = Literal["answered", "refused", "left", "lost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """One request's end; times in seconds on one clock. `why` tells of a loss."""

    importance: str
    fate: Fate
    asked_at: float
    ended_at: float
    first_token_s: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """The engine alone: waits for the first token of critical requests, and how long it computes
    at once, at most, before it can turn to somebody else."""

    waits_s: Sequence[float]
    step_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Soak:
    """Everything that was seen. `gaps` are the times without a worker, from a kill to the next
    one's readiness; `leaks` says in words what was not free again."""

    ends: Sequence[Ended]
    rest: Rest
    gaps: Sequence[tuple[float, float]]
    leaks: Sequence[str]
    memory_mb: tuple[float, float]

    def fates(self) -> Mapping[str, Counter[str]]:
        """How many of each importance met which fate."""
        found: dict[str, Counter[str]] = {}
        for end in self.ends:
            found.setdefault(end.importance, Counter())[end.fate] += 1
        return found

    def lost(self) -> list[Ended]:
        """Those that should not be there."""
        return [end for end in self.ends if end.fate == "lost"]

    def waits_s(self, importance: str, *, during_gaps: bool = False) -> list[float]:
        """Times to the first token."""
        return [
            end.first_token_s
            for end in self.ends
            if end.importance == importance
            and end.first_token_s is not None
            and self._met_gap(end.asked_at, end.asked_at + end.first_token_s) == during_gaps
        ]

    def _met_gap(self, began: float, ended: float) -> bool:
        return any(began < gap_end and gap_begin < ended for gap_begin, gap_end in self.gaps)


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that so many percent do not exceed; the nearest one that was seen."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One thing that must hold, and whether it does; None: it could not be seen."""

    what: str
    holds: bool | None
    found: str

    def __str__(self) -> str:
        word = "UNKNOWN" if self.holds is None else "PASS" if self.holds else "FAIL"
        return f"{word:<8}{self.what} -> {self.found}"


def verdicts(soak: Soak) -> tuple[Verdict, ...]:
    """What the soak has to show."""
    lost, leaks = soak.lost(), soak.leaks
    return (
        Verdict("no request is lost", not lost, f"{len(lost)} of {len(soak.ends)}"),
        Verdict("everything is free again", not leaks, "; ".join(leaks) or "it is"),
        *(_wait_verdict(soak, percent) for percent in (50, 95)),
    )


def _wait_verdict(soak: Soak, percent: int) -> Verdict:
    what = f"{percent} % of critical requests wait no longer than alone plus one step"
    waits = soak.waits_s(CRITICAL)
    if not waits or not soak.rest.waits_s:
        return Verdict(what, None, "none was seen")
    allowed = percentile(soak.rest.waits_s, percent) + soak.rest.step_s
    found = percentile(waits, percent)
    return Verdict(what, found <= allowed, f"{found:.2f} s, allowed {allowed:.2f} s")


def render(soak: Soak) -> str:
    """The report as Markdown."""
    rows = [_row(soak, importance, counts) for importance, counts in soak.fates().items()]
    head = "| client | answered | refused | left | lost | first token, s: median | 95 % | most |"
    alone = soak.rest.waits_s
    lines = [
        head,
        "|" + " --- |" * 8,
        *rows,
        "",
        f"Alone, a critical request waits {_waits(alone)} s (median, 95 %, most); the engine "
        f"computes {soak.rest.step_s:.2f} s at once.",
        f"Workers killed: {len(soak.gaps)}; back after {_waits([b - a for a, b in soak.gaps])} s. "
        f"Critical requests met by that: {_waits(soak.waits_s(CRITICAL, during_gaps=True))} s.",
        f"Memory, MB: {soak.memory_mb[0]:.0f} before, {soak.memory_mb[1]:.0f} after.",
        "",
        *(f"    {verdict}" for verdict in verdicts(soak)),
        *(f"- lost ({end.importance}): {end.why}" for end in soak.lost()[:10]),
    ]
    return "\n".join(lines) + "\n"


def _row(soak: Soak, importance: str, counts: Counter[str]) -> str:
    fates = " | ".join(str(counts[fate]) for fate in ("answered", "refused", "left", "lost"))
    waits = _waits(soak.waits_s(importance), " | ")
    return f"| {importance} | {fates} | {waits} |"


def _waits(values: Sequence[float], between: str = ", ") -> str:
    if not values:
        return between.join("-" * 3)
    return between.join(f"{percentile(values, percent):.2f}" for percent in (50, 95, 100))
