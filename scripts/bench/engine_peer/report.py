"""From samples to medians, ratios, verdicts and Markdown. Pure: no clock, no files, no processes.

A ratio is taken within each round, where both sides met the same machine, and says how many times
better we are: above 1 we are faster, sooner or smaller.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

OURS = "fallback"

Samples = Mapping[str, Mapping[str, Sequence[float]]]
"""Who -> which measure -> one value a round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """Something that is measured of several; the unit is in the title.

    `versus` is whom we are compared with, `at_least` the ratio that is wanted, `at_most` and
    `from_` bound our value itself. `better` None: told, not compared.
    """

    key: str
    title: str
    digits: int = 1
    better: Literal["more", "less"] | None = "more"
    versus: str = "llama-server"
    at_least: float | None = None
    at_most: float | None = None
    from_: float | None = None

    @property
    def has_target(self) -> bool:
        """Whether it can be met or missed."""
        return not (self.at_least is self.at_most is self.from_ is None)


@dataclass(frozen=True, slots=True)
class Judgement:
    """A target and what was found; `found` is None where it could not be measured."""

    measure: Measure
    found: float | None

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "UNKNOWN"
        low, high = self.measure.at_least or self.measure.from_, self.measure.at_most
        met = (low is None or self.found >= low) and (high is None or self.found <= high)
        return "PASS" if met else "FAIL"

    def __str__(self) -> str:
        found = "not measured" if self.found is None else f"{self.found:.3g}"
        return f"{self.verdict:<8}{_wanted(self.measure)} -> {found}"


def _wanted(measure: Measure) -> str:
    if measure.at_least is not None:
        return f"{measure.title}: at least {measure.at_least:g} x {measure.versus}"
    if measure.at_most is not None:
        return f"{measure.title}: at most {measure.at_most:g}"
    return f"{measure.title}: at least {measure.from_:g}"


def ratios(samples: Samples, measure: Measure) -> tuple[float, ...]:
    """How many times better we are, one value a round; of the medians where rounds are missing.

    Empty where one side has nothing, or nothing above zero.
    """
    ours, theirs = (samples.get(who, {}).get(measure.key, ()) for who in (OURS, measure.versus))
    if measure.better is None or not ours or not theirs:
        return ()
    pairs = (
        list(zip(ours, theirs, strict=True))
        if len(ours) == len(theirs)
        else [(median(ours), median(theirs))]
    )
    if any(value <= 0 for pair in pairs for value in pair):
        return ()
    more = measure.better == "more"
    return tuple(mine / its if more else its / mine for mine, its in pairs)


def judge(samples: Samples, measures: Sequence[Measure]) -> tuple[Judgement, ...]:
    """Every target with what was found."""
    return tuple(
        Judgement(measure, _found(samples, measure)) for measure in measures if measure.has_target
    )


def _found(samples: Samples, measure: Measure) -> float | None:
    if measure.at_least is not None:
        values: Sequence[float] = ratios(samples, measure)
    else:
        values = samples.get(OURS, {}).get(measure.key, ())
    return median(values) if values else None


def table(samples: Samples, measures: Sequence[Measure]) -> str:
    """One case as Markdown: who is compared, and the ratio."""
    present = [who for who in samples if any(samples[who].get(each.key) for each in measures)]
    rows = [
        [
            measure.title,
            *(spread(samples[who].get(measure.key, ()), measure.digits) for who in present),
            _times(ratios(samples, measure), measure),
        ]
        for measure in measures
    ]
    filled = [row for row in rows if any(row[1:])]
    return _markdown(["", *present, "times better"], filled) if filled else ""


def spread(values: Sequence[float], digits: int) -> str:
    """Median (lowest-highest); one value stands alone, none is blank."""
    if not values:
        return ""
    middle, low, high = (
        f"{each:.{digits}f}" for each in (median(values), min(values), max(values))
    )
    return middle if len(values) == 1 else f"{middle} ({low}-{high})"


def _times(values: Sequence[float], measure: Measure) -> str:
    note = "" if measure.versus == "llama-server" else f" than {measure.versus}"
    return f"{spread(values, 2)}{note}" if values else ""


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in lines
    )


def render(
    samples: Samples,
    cases: Mapping[str, Sequence[Measure]],
    notes: Sequence[str],
    failures: Sequence[str],
) -> str:
    """The whole report; `cases` maps titles to what was measured there."""
    parts = [
        f"{title}\n\n{found}"
        for title, measures in cases.items()
        if (found := table(samples, measures))
    ]
    judgements = [each for measures in cases.values() for each in judge(samples, measures)]
    parts.append("Targets\n\n" + "\n".join(f"    {judgement}" for judgement in judgements))
    for title, lines in (("Notes", notes), ("Could not be measured", failures)):
        if lines:
            parts.append(f"{title}\n\n" + "\n".join(f"- {line}" for line in lines))
    return "\n\n".join(parts) + "\n"


def as_json(
    samples: Samples,
    cases: Mapping[str, Sequence[Measure]],
    notes: Sequence[str],
    failures: Sequence[str],
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """The same for machines, with every sample."""
    measures = [measure for chosen in cases.values() for measure in chosen]
    return {
        "facts": dict(facts),
        "samples": {who: {key: list(got[key]) for key in got} for who, got in samples.items()},
        "medians": {who: {key: median(got[key]) for key in got} for who, got in samples.items()},
        "ratios": {each.key: list(ratios(samples, each)) for each in measures},
        "targets": [
            {"target": _wanted(each.measure), "found": each.found, "verdict": each.verdict}
            for each in judge(samples, measures)
        ],
        "notes": list(notes),
        "failures": list(failures),
    }
