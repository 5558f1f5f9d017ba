"""The survey's tables and lines."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from rich.table import Table

from schema_survey.findings import Finding
from schema_survey.generations import Generation

_OUTCOMES = ("kept", "loosened", "refused")
_TOLD_COMPLAINTS = 20


def outcome_table(findings: Iterable[Finding]) -> Table:
    """Shares of the outcomes by group and in all."""
    table = Table(title="schemas")
    for heading in ("group", "schemas", *_OUTCOMES):
        table.add_column(heading, justify="left" if heading == "group" else "right")
    groups: dict[str, list[str]] = defaultdict(list)
    for finding in findings:
        groups[finding.group].append(finding.outcome)
        groups["all"].append(finding.outcome)
    for name, outcomes in sorted(groups.items(), key=lambda item: (item[0] == "all", item[0])):
        shares = (f"{outcomes.count(each) / len(outcomes):.1%}" for each in _OUTCOMES)
        table.add_row(name, str(len(outcomes)), *shares)
    return table


def reason_table(findings: Iterable[Finding]) -> Table:
    """Why schemas are not kept; one may have several reasons."""
    table = Table(title="why not kept")
    for heading in ("outcome", "reason", "schemas", "for instance"):
        table.add_column(heading, justify="right" if heading == "schemas" else "left")
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for finding in findings:
        for reason in finding.reasons:
            found[finding.outcome, reason].append(finding.name)
    for (outcome, reason), names in sorted(found.items(), key=lambda item: -len(item[1])):
        table.add_row(outcome, reason, str(len(names)), names[0])
    return table


def time_lines(findings: Sequence[Finding]) -> Iterator[str]:
    """Percentiles of what a schema costs before the first token."""
    for what, values in (
        ("rewriting", [finding.narrow_s for finding in findings]),
        ("compiling", [finding.compile_s for finding in findings]),
        ("a matcher of what is compiled", [finding.start_s for finding in findings]),
    ):
        ranked = sorted(values)
        at = (f"{share:.0%} {_at(ranked, share) * 1e3:.3f} ms" for share in (0.5, 0.9, 0.99, 1.0))
        yield f"{what}: {', '.join(at)}"


def _at(ranked: Sequence[float], share: float) -> float:
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


def complaint_lines(findings: Iterable[Finding]) -> Iterator[str]:
    """The judgements in numbers, and what was invalid."""
    counts: Counter[str] = Counter()
    complaints = []
    for finding in findings:
        counts.update(finding.counts)
        complaints += [f"  {finding.name}: {each}" for each in finding.complaints]
    yield from (f"{what}: {number}" for what, number in sorted(counts.items()))
    yield from complaints[:_TOLD_COMPLAINTS]


def generation_lines(answers: Sequence[Generation]) -> Iterator[str]:
    """What came of the real model's answers."""
    counts = Counter(answer.outcome for answer in answers)
    tokens = sum(answer.output_tokens for answer in answers)
    yield f"{len(answers)} answers of the model, {tokens} tokens: " + ", ".join(
        f"{number} {outcome}" for outcome, number in counts.most_common()
    )
    told = [answer for answer in answers if answer.outcome in ("invalid", "failed")]
    yield from (f"  {each.name}: {each.outcome}: {each.detail}" for each in told[:_TOLD_COMPLAINTS])
