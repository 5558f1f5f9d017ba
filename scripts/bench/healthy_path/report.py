"""From samples to medians, ratios, verdicts and text. Pure: no clock, no files, no processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

OURS, DIRECT = "fallback", "direct"

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""Who -> which measure -> one value a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that is measured of every proxy; the unit is in the title."""

    key: str
    title: str
    digits: int = 0
    is_cost: bool = False  # CPU: what a proxy is compared by


MEASURES = (
    Measure(key="cpu_us/messages-2kb", title="CPU µs, 2 KB", is_cost=True),
    Measure(key="cpu_us/messages-120kb", title="CPU µs, 120 KB body", is_cost=True),
    Measure(key="cpu_us/messages-stream", title="CPU µs, 100-event stream", is_cost=True),
    Measure(key="cpu_us/messages-paced", title="CPU µs, one paced event", is_cost=True),
    Measure(key="cpu_us/chat-2kb", title="CPU µs, chat, 2 KB", is_cost=True),
    Measure(key="cpu_us/chat-stream", title="CPU µs, chat, 100-event stream", is_cost=True),
    Measure(key="cpu_us/chat-paced", title="CPU µs, chat, one paced event", is_cost=True),
    Measure(key="cpu_us/tls-2kb", title="CPU µs, TLS upstream, 2 KB", is_cost=True),
    Measure(key="p50_ms", title="p50 ms, 1 connection", digits=2),
    Measure(key="added_p50_ms", title="added p50 ms", digits=2),
    Measure(key="added_p99_ms", title="added p99 ms", digits=2),
    Measure(key="rate/messages-2kb", title="answers/s, 2 KB, 16 connections"),
    Measure(key="start_s", title="start to first answer, s", digits=2),
    Measure(key="rss_mb", title="idle RSS, MB"),
    Measure(key="idle_cpu_ms_per_s", title="idle CPU, ms/s", digits=1),
)
_BY_KEY = {measure.key: measure for measure in MEASURES}


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A limit on our value, or on how many times as much a peer spends on the same."""

    key: str
    peer: str | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __str__(self) -> str:
        title = _BY_KEY[self.key].title
        if self.peer:
            return f"{title}: {self.peer} spends at least {self.at_least:g} x as much"
        return f"{title}: at most {self.at_most:g}"


def _ratios(peer: str, **at_least: float) -> tuple[Target, ...]:
    keys = {
        "whole": ("messages-2kb", "messages-120kb"),
        "stream": ("messages-stream",),
        "paced": ("messages-paced",),
    }
    return tuple(
        Target(key=f"cpu_us/{case}", peer=peer, at_least=limit)
        for kind, limit in at_least.items()
        for case in keys[kind]
    )


TARGETS = (
    *_ratios("LiteLLM", whole=40, stream=40, paced=5),
    *_ratios("Portkey", whole=8, stream=8, paced=3),
    *_ratios("without receipts", whole=0.95, stream=0.95, paced=0.95),
    Target(key="added_p50_ms", at_most=0.7),
    Target(key="start_s", at_most=1.0),
    Target(key="rss_mb", at_most=60.0),
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A target and what was found; `found` is None where it could not be measured."""

    target: Target
    found: float | None

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "UNKNOWN"
        low_enough = self.target.at_most is None or self.found <= self.target.at_most
        high_enough = self.target.at_least is None or self.found >= self.target.at_least
        return "PASS" if low_enough and high_enough else "FAIL"

    def __str__(self) -> str:
        found = "not measured" if self.found is None else f"{self.found:.3g}"
        return f"{self.verdict:<8}{self.target} -> {found}"


def median_of(samples: Samples, who: str, key: str) -> float | None:
    """The median over the rounds, None where there is no sample."""
    values = samples.get(who, {}).get(key, ())
    return median(values) if values else None


def ratio(samples: Samples, peer: str, key: str) -> float | None:
    """How many times as much as we the peer spends; None where one of the two is unknown.

    Ours not being above zero means that it was too little to be measured: unknown too.
    """
    theirs, ours = median_of(samples, peer, key), median_of(samples, OURS, key)
    return None if theirs is None or ours is None or ours <= 0 else theirs / ours


def judge(samples: Samples, targets: Sequence[Target] = TARGETS) -> tuple[Judgement, ...]:
    """Every target with what was found."""
    return tuple(
        Judgement(
            target,
            ratio(samples, target.peer, target.key)
            if target.peer
            else median_of(samples, OURS, target.key),
        )
        for target in targets
    )


def render(samples: Samples, failures: Sequence[str]) -> str:
    """The whole report as Markdown."""
    parts = [
        "Median over the rounds (lowest-highest)\n\n" + _values_table(samples),
        f"Times as much as {OURS}\n\n" + _ratios_table(samples),
        "Targets\n\n" + "\n".join(f"    {judgement}" for judgement in judge(samples)),
    ]
    if failures:
        parts.append("Could not be measured\n\n" + "\n".join(f"- {each}" for each in failures))
    return "\n\n".join(parts) + "\n"


def as_json(samples: Samples, failures: Sequence[str], facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same for machines, with every sample."""
    return {
        "facts": dict(facts),
        "samples": {who: {key: list(got[key]) for key in got} for who, got in samples.items()},
        "medians": {who: {key: median(got[key]) for key in got} for who, got in samples.items()},
        "ratios": {
            who: {measure.key: ratio(samples, who, measure.key) for measure in _costs()}
            for who in _peers(samples)
        },
        "targets": [
            {"target": str(each.target), "found": each.found, "verdict": each.verdict}
            for each in judge(samples)
        ],
        "failures": list(failures),
    }


def _costs() -> tuple[Measure, ...]:
    return tuple(measure for measure in MEASURES if measure.is_cost)


def _peers(samples: Samples) -> tuple[str, ...]:
    return tuple(who for who in samples if who not in (OURS, DIRECT))


def _values_table(samples: Samples) -> str:
    rows = [
        [measure.title, *(_spread(samples[who].get(measure.key, ()), measure) for who in samples)]
        for measure in MEASURES
    ]
    return _table(["", *samples], rows)


def _ratios_table(samples: Samples) -> str:
    rows = [
        [measure.title, *(_times(ratio(samples, who, measure.key)) for who in _peers(samples))]
        for measure in _costs()
    ]
    return _table(["", *_peers(samples)], rows)


def _spread(values: Sequence[float], measure: Measure) -> str:
    if not values:
        return ""
    middle, low, high = (f"{each:.{measure.digits}f}" for each in _summary(values))
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def _summary(values: Sequence[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    filled = [row for row in rows if any(row[1:])]
    widths = [max(len(row[column]) for row in (head, *filled)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *filled]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in lines
    )
