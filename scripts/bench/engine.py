#!/usr/bin/env python3
"""Our engine beside llama-server: the same model and machine, in turn, round by round.

llama-server is built once from the source that the installed llama-cpp-python comes from (a
quarter of an hour on two cores) and kept outside the tree. Both answer over HTTP, the same
requests of the same client: ours through the whole service. Prints medians, the ratio of each
round and the targets; ends with 0 when every target is met, with 1 when one is missed or could
not be measured. Let nothing else run meanwhile.

    .venv/bin/python scripts/bench/engine.py --json result.json     all of it: two hours
    .venv/bin/python scripts/bench/engine.py --only decode,lookup --rounds 3
    .venv/bin/python scripts/bench/engine.py --quick                a look; figures mean little
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from engine_peer.build import home, llama_server
from engine_peer.cases.base import Bench, Case
from engine_peer.cases.registered import CASES
from engine_peer.race import Results
from engine_peer.report import as_json, judge, render

from fallback.modelstore.store import locate

_MODEL = "smollm2-135m-instruct"
_MOST_ROUNDS = 20
_QUICK_SCALE = 0.1


def main() -> int:
    arguments = _arguments()
    chosen = [case for case in CASES if case.name in arguments.only]
    model = arguments.model or locate(_MODEL).path
    if not model.is_file():
        return _fail(f"{model} is missing: run scripts/serve once")
    llama_server()
    results = Results(_say)
    bench = _bench(arguments, model.resolve(), results)
    try:
        for case in chosen:
            _say(case.title)
            asyncio.run(_run(case, bench))
    except KeyboardInterrupt:
        results.failures.append("stopped early")
    _report(arguments, chosen, results)
    judgements = [each for case in chosen for each in judge(results.samples, case.measures)]
    return 0 if all(each.verdict == "PASS" for each in judgements) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names, rounds = [case.name for case in CASES], range(1, _MOST_ROUNDS + 1)
    parser.add_argument("--rounds", type=int, choices=rounds, metavar="N", help="5, or 1 if quick")
    parser.add_argument("--only", type=_some_of(names), default=names, metavar=",".join(names))
    parser.add_argument("--quick", action="store_true", help="short texts, one round")
    parser.add_argument("--model", type=Path, metavar="GGUF", help="another model than our own")
    parser.add_argument("--threads", type=int, default=_cores(), help="where both get the same")
    parser.add_argument("--gpu-layers", type=int, default=0, help="of each model, on the GPU")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser.parse_args()


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if strange := sorted(set(wanted) - set(known)):
            raise argparse.ArgumentTypeError(f"{strange} not among {', '.join(known)}")
        return wanted

    return parse


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _bench(arguments: argparse.Namespace, model: Path, results: Results) -> Bench:
    return Bench(
        model=model,
        rounds=arguments.rounds or (1 if arguments.quick else 5),
        threads=arguments.threads,
        gpu_layers=arguments.gpu_layers,
        scale=_QUICK_SCALE if arguments.quick else 1.0,
        results=results,
    )


async def _run(case: Case, bench: Bench) -> None:
    with bench.results.noting_failures():
        await case.run(bench)


def _report(arguments: argparse.Namespace, chosen: Sequence[Case], results: Results) -> None:
    cases = {case.title: case.measures for case in chosen}
    print("\n" + render(results.samples, cases, results.notes, results.failures))
    facts = {
        "peer": home().name,
        "cores": os.cpu_count(),
        "machine": platform.platform(),
        "load_average": os.getloadavg()[0],
    }
    if arguments.json:
        report = as_json(results.samples, cases, results.notes, results.failures, facts)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _fail(why: str) -> int:
    print(f"engine: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
