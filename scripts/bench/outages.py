#!/usr/bin/env python3
"""Outages on paper: when are they found, what do they cost, and what is called one wrongly?

Plays shapes of trouble (a dead upstream, a brownout, a lost network, rate limits ...) against
the core that serves and, with the same requests and the same draws, against the default rules
of five well-known circuit breakers. No sockets, no clock; a seed replays everything.

The peers fall back to the same local tier at the same deadlines as ours; they have no hedging,
since their rules have none. What each counts as a failure is by its own defaults, told in its
file in `outage_sim/rules`. The columns are defined in `outage_sim/tally.py`; a star marks where
ours is first or equal (within 5 %, or a second), and below each table stands why where it is not.

    .venv/bin/python scripts/bench/outages.py                      everything, some minutes
    .venv/bin/python scripts/bench/outages.py --quick              a look
    .venv/bin/python scripts/bench/outages.py --shape brownout --rate 1/s --seed 7
    .venv/bin/python scripts/bench/outages.py --shape background --days 30 --jobs 2     hours
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from outage_sim.background import Falsehood, false_downs
from outage_sim.episode import drawn, play, stage
from outage_sim.figures import Figures, figures
from outage_sim.report import (
    RATES,
    falsehood_table,
    named_lines,
    reason_lines,
    shape_table,
    show,
    standing_line,
)
from outage_sim.rules.registry import RULES
from outage_sim.shapes import SHAPES
from rich.console import Console

Cells: TypeAlias = dict[tuple[str, ...], Future[Any]]

_BACKGROUND = "background"
_SHARES = (0.001, 0.01, 0.05, 0.1)
_EPISODES = {"1/min": 60, "1/s": 10, "100/s": 1}
_QUICK_EPISODES = {"1/min": 15, "1/s": 2}
_DAYS = {"1/min": 30.0, "1/s": 10.0, "100/s": 0.1}
_PEER_DAYS = {"1/min": 30.0, "1/s": 1.0, "100/s": 0.05}
_QUICK_DAYS = {"1/min": 3.0, "1/s": 0.1, "100/s": 0.002}


def main() -> int:
    arguments = _arguments()
    console = Console(width=160, highlight=False)
    shapes = [arguments.shape] if arguments.shape else [*SHAPES, _BACKGROUND]
    report: dict[str, Any] = {"seed": arguments.seed}
    with ProcessPoolExecutor(arguments.jobs) as pool:
        played = {shape: _begun(pool, shape, arguments) for shape in shapes}
        for shape, cells in played.items():
            results = {cell: future.result() for cell, future in cells.items()}
            _show(console, shape, results)
            report[shape] = {" ".join(cell): result for cell, result in results.items()}
    shown = [report[shape] for shape in shapes if shape != _BACKGROUND]
    if shown:
        console.print(standing_line(shown), markup=False, soft_wrap=True)
    if arguments.json:
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return 0


def _begun(pool: ProcessPoolExecutor, shape: str, arguments: argparse.Namespace) -> Cells:
    """What is played for it, by rate, and by share of errors."""
    rates = [arguments.rate] if arguments.rate else list(RATES)
    if shape == _BACKGROUND:
        return {
            (rate, f"{share:.1%}"): pool.submit(_falsehoods, rate, share, arguments)
            for rate in rates
            for share in _SHARES
        }
    episodes = _QUICK_EPISODES if arguments.quick else _EPISODES
    if arguments.rate:
        episodes = {arguments.rate: episodes.get(arguments.rate, 1)}
    return {
        (rate,): pool.submit(_figures, shape, rate, count, arguments.seed)
        for rate, count in episodes.items()
    }


def _show(console: Console, shape: str, results: Mapping[tuple[str, ...], Any]) -> None:
    if shape == _BACKGROUND:
        title = "background: false downs a day (at most, 95 %), where a share of requests fails"
        return show(console, title, falsehood_table(results))
    by_rate = {rate: result for (rate,), result in results.items()}
    lines = [*named_lines(by_rate), *reason_lines(by_rate)]
    return show(console, f"{shape}: {drawn(shape, 0).says}", shape_table(by_rate), lines)


def _figures(shape: str, rate: str, episodes: int, seed: int) -> dict[str, Figures]:
    """By rule. All rules play on the same stages."""
    stages = [stage(shape, rate=RATES[rate], seed=seed + number) for number in range(episodes)]
    return {
        name: figures(stages, [play(scene, build) for scene in stages])
        for name, build in RULES.items()
    }


def _falsehoods(rate: str, share: float, arguments: argparse.Namespace) -> dict[str, Falsehood]:
    results = {}
    for number, (name, build) in enumerate(RULES.items()):
        days = _PEER_DAYS[rate] if number else arguments.days or _DAYS[rate]
        results[name] = false_downs(
            build,
            rate=RATES[rate],
            share=share,
            days=_QUICK_DAYS[rate] if arguments.quick else days,
            seed=arguments.seed,
        )
    return results


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=[*SHAPES, _BACKGROUND])
    parser.add_argument("--rate", choices=list(RATES))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=float, help="of background errors against ours")
    parser.add_argument("--jobs", type=int, default=1, help="processes to play in")
    parser.add_argument("--quick", action="store_true", help="few episodes, not at 100/s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
