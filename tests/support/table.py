"""Prints the table: `PYTHONPATH=tests:tests/e2e python -m support.table [--slow] [NAME ...]`.

One row a fault, dialect and mode, with the default settings: what the client saw, the most
seconds to the first content and to the end, requests that reached the upstream, the health
afterwards, the verdicts on the attempts. Then the scenarios, which have no dialect or mode.
Ends with status 1 where something was seen that should not have been.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from standin.service import TERSE

from support.cells import Result, laid, run_fault
from support.fault import Fault
from support.faults import FAULTS
from support.scenarios import SCENARIOS, Scenario
from support.timings import SLOW_TIMINGS, TIMINGS

_HEAD = (
    "fault",
    "dialect",
    "mode",
    "client saw",
    "content s",
    "end s",
    "reached",
    "health",
    "verdicts",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was named, or all; 0 if nothing was wrong."""
    options = _parser().parse_args(arguments)
    scenarios = {**SCENARIOS, **TIMINGS, **SLOW_TIMINGS}
    usual = [*FAULTS, *SCENARIOS, *TIMINGS, *(SLOW_TIMINGS if options.slow else ())]
    names = options.names or usual
    if unknown := set(names) - set(FAULTS) - set(scenarios):
        sys.exit(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(usual)}")
    wrong = _print_faults([FAULTS[name] for name in names if name in FAULTS])
    wrong += _print_scenarios({name: scenarios[name] for name in names if name in scenarios})
    print(f"\n{len(wrong)} not as expected", *wrong, sep="\n")
    return 1 if wrong else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="support.table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="faults or scenarios; all")
    parser.add_argument("--slow", action="store_true", help="also what takes over a minute")
    return parser


def _print_faults(faults: Sequence[Fault]) -> list[str]:
    if not faults:
        return []
    wrong: list[str] = []
    print(_line(_HEAD), _line(["---"] * len(_HEAD)), sep="\n")
    with tempfile.TemporaryDirectory() as folder, laid(faults, Path(folder), TERSE) as table:
        for fault in faults:
            for result in run_fault(table, fault):
                print(_line(_fields(result)), flush=True)
                wrong += result.objections()
    return wrong


def _fields(result: Result) -> tuple[str, ...]:
    first = [seen.first_content_s for seen in result.seen if seen.first_content_s is not None]
    cell = result.cell
    return (
        cell.fault.name,
        cell.dialect,
        cell.mode,
        _counted(seen.result for seen in result.seen),
        f"{max(first):.2f}" if first else "-",
        f"{max(seen.total_s for seen in result.seen):.2f}",
        str(result.reached),
        result.health,
        _counted(result.verdicts),
    )


def _print_scenarios(scenarios: Mapping[str, Scenario]) -> list[str]:
    wrong: list[str] = []
    for name, scenario in scenarios.items():
        with tempfile.TemporaryDirectory() as folder:
            told = scenario(Path(folder))
        print(_line([name, "-", "-", told.saw]), flush=True)
        wrong += [f"{name}: {what}" for what in told.wrong]
    return wrong


def _line(fields: Sequence[str]) -> str:
    return "| " + " | ".join(fields) + " |"


def _counted(words: Iterable[str]) -> str:
    """`local`, or `7 local, 5 cloud`."""
    counts = Counter(words)
    if len(counts) == counts.total():
        return ", ".join(counts)
    return ", ".join(f"{count} {word}" for word, count in counts.most_common())


if __name__ == "__main__":
    sys.exit(main())
