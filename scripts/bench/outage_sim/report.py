"""Figures as Markdown tables, ours first, and the reasons where ours is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from outage_sim.background import Falsehood
from outage_sim.figures import COLUMNS, Figures
from outage_sim.verdict import best, is_first, reasons, standing

RATES = {"1/min": 1 / 60, "1/s": 1.0, "100/s": 100.0}


def shape_table(results: Mapping[str, Mapping[str, Figures]]) -> Table:
    """`results` by rate, then by rule, ours first; a star where ours is first or equal."""
    table = _table("rate", "rule", "found", *COLUMNS.values())
    for rate, rules in results.items():
        (name, ours), *others = rules.items()
        peers = dict(others)
        table.add_row(rate, name, _share(ours), *_marked(ours, peers, RATES[rate]))
        for peer, values in peers.items():
            cells = (_cell(getattr(values, column)) for column in COLUMNS)
            table.add_row("", peer, _share(values), *cells)
    return table


def reason_lines(results: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """One for each column in which ours is behind."""
    lines = []
    for rate, rules in results.items():
        (_, ours), *others = rules.items()
        for column, why in reasons(ours, dict(others), RATES[rate]).items():
            lines.append(f"- {rate}, {COLUMNS[column]}: {why}.")
    return lines


def named_lines(results: Mapping[str, Mapping[str, Figures]]) -> list[str]:
    """What ours called down, and in how many episodes."""
    lines = []
    for rate, rules in results.items():
        ours = next(iter(rules.values()))
        named = (f"{scope} {times}/{ours.episodes}" for scope, times in sorted(ours.named.items()))
        lines.append(f"- {rate}, called down: {', '.join(named) or 'nothing'}.")
    return lines


def standing_line(played: Iterable[Mapping[str, Mapping[str, Figures]]]) -> str:
    """How ours stands in all."""
    first = felt = 0
    for results in played:
        for rate, rules in results.items():
            (_, ours), *others = rules.items()
            so_many, of_all = standing(ours, dict(others), RATES[rate])
            first, felt = first + so_many, felt + of_all
    return (
        f"Ours is first or equal in {first} of {felt} figures that a user feels (all but the "
        f"attempts), by shape and rate; the others stand above with their reasons."
    )


def falsehood_table(results: Mapping[tuple[str, ...], Mapping[str, Falsehood]]) -> Table:
    """False downs a day, and in brackets what it is at most (95 %)."""
    names = list(next(iter(results.values())))
    table = _table("rate", "errors", "days (peers)", *names)
    for (rate, share), rules in results.items():
        ours, *peers = (rules[name] for name in names)
        days = f"{ours.days:g} ({peers[0].days:g})"
        table.add_row(rate, share, days, *(_falsehood(rules[name]) for name in names))
    return table


def show(console: Console, title: str, table: Table, lines: Sequence[str] = ()) -> None:
    """As Markdown, without the blanks that pad a table on screen."""
    with console.capture() as capture:
        console.print(table)
    rows = [row.rstrip() for row in capture.get().splitlines() if row.strip()]
    text = "\n".join([f"\n### {title}\n", *rows, "", *lines])
    console.print(text, markup=False, highlight=False, soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(*columns, box=box.MARKDOWN)
    for column in table.columns[2:]:
        column.justify = "right"
    return table


def _marked(ours: Figures, peers: Mapping[str, Figures], rate: float) -> Iterable[str]:
    for column in COLUMNS:
        value, leader = getattr(ours, column), best(column, peers)
        first = is_first(column, value, leader[0] if leader else None, rate)
        yield _cell(value) + (" *" if first and value is not None else "")


def _cell(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value else "0"


def _share(values: Figures) -> str:
    return "-" if values.detect_s is None else f"{values.found:.0%}"


def _falsehood(result: Falsehood) -> str:
    return f"{result.downs / result.days:.3g} ({result.most_a_day:.2g})"
