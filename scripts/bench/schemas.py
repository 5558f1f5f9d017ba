#!/usr/bin/env python3
"""How much of real-world JSON Schema the engine keeps, why not the rest, and is it valid?

For each schema of a folder: is it kept (what is written is valid by construction), loosened (but
for keywords that the client is told of) or refused; how long does that take; do the instances that
come with it agree; and are random texts that the grammar admits valid by the `jsonschema` library?
With `--generate`, so many answers of the real model under kept schemas as well. Ends with 1 if
anything invalid was written. The corpus is https://github.com/guidance-ai/jsonschemabench.

    .venv/bin/python scripts/bench/schemas.py jsonschemabench/maskbench/data
    .venv/bin/python scripts/bench/schemas.py FOLDER --every 20 --model models/SmolLM2-135M-Instruct.Q4_1.gguf --generate 300
"""  # noqa: E501

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console
from schema_survey.corpus import Entry, entries
from schema_survey.findings import Finding, Surveyor
from schema_survey.generations import generations
from schema_survey.report import (
    complaint_lines,
    generation_lines,
    outcome_table,
    reason_table,
    time_lines,
)
from schema_survey.vocabulary import tokenizer_of

_CHUNK = 8
_surveyors: list[Surveyor] = []


def main() -> int:
    arguments = _arguments()
    console = Console(width=140, highlight=False)
    found = list(entries(arguments.folder, every=arguments.every, matching=arguments.only))
    findings = _survey(found, arguments)
    console.print(outcome_table(findings))
    console.print(reason_table(findings))
    for line in (*time_lines(findings), *complaint_lines(findings)):
        console.print(line, markup=False)
    invalid = sum(len(finding.complaints) for finding in findings)
    if arguments.generate:
        kept = _kept(found, findings, arguments.generate)
        answers = asyncio.run(
            generations(arguments.model, kept, max_tokens=arguments.tokens, slots=arguments.slots)
        )
        for line in generation_lines(answers):
            console.print(line, markup=False)
        invalid += sum(answer.outcome == "invalid" for answer in answers)
    return 1 if invalid else 0


def _survey(found: Sequence[Entry], arguments: argparse.Namespace) -> list[Finding]:
    start = (arguments.model if arguments.own_vocabulary else None, arguments.walks, arguments.seed)
    with ProcessPoolExecutor(arguments.jobs, initializer=_begin, initargs=start) as pool:
        return list(pool.map(_look, found, chunksize=_CHUNK))


def _begin(model: Path | None, walks: int, seed: int) -> None:
    _surveyors.append(Surveyor(tokenizer_of(model), walks=walks, seed=seed))


def _look(entry: Entry) -> Finding:
    return _surveyors[0].look(entry)


def _kept(found: Sequence[Entry], findings: Sequence[Finding], wanted: int) -> list[Entry]:
    """So many schemas that are kept, evenly out of all."""
    kept = [e for e, finding in zip(found, findings, strict=True) if finding.outcome == "kept"]
    return kept[:: max(1, len(kept) // wanted)][:wanted]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only each n-th schema")
    parser.add_argument("--only", nargs="*", default=(), help="parts of the names of files")
    parser.add_argument("--walks", type=int, default=5, help="random texts for each schema")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--model", type=Path, help="a GGUF file, for --generate")
    parser.add_argument(
        "--own-vocabulary", action="store_true", help="walk over the model's tokens, not bytes"
    )
    parser.add_argument("--generate", type=int, default=0, help="answers of the real model")
    parser.add_argument("--tokens", type=int, default=400, help="limit of each of those")
    parser.add_argument("--slots", type=int, default=4)
    arguments = parser.parse_args()
    if (arguments.generate or arguments.own_vocabulary) and arguments.model is None:
        parser.error("--generate and --own-vocabulary want a --model")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
