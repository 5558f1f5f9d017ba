#!/usr/bin/env python3
"""What the service costs when nobody asks, and how soon after its start it can answer.

Each round starts `fallback serve` three times (model cold: not in the page cache and not yet
verified; warm; warm and then left alone), a mock upstream on loopback in front of it, and beside
it the least that its libraries cost on their own. Prints Markdown for the README: medians and
extremes over the rounds. Linux; about a minute and a half a round.

    .venv/bin/python scripts/bench/standby.py --rounds 5 --json result.json
    .venv/bin/python scripts/bench/standby.py --rounds 1 --idle-s 2      a look
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median

import aiohttp
from at_rest import modelfile
from at_rest.starts import DidNotSay
from at_rest.tables import render, spread
from at_rest.turn import Bench, one_round
from healthy_path.load import BadAnswer
from healthy_path.mock_upstream import listening
from healthy_path.processes import scratch_directory

from fallback.modelstore.store import locate

_MODEL = "smollm2-135m-instruct"
_MOST_ROUNDS = 20
_IDLE_AT_MOST_S = 120
_ROUND_WITHIN_S = 300.0  # with nothing of it spent on idleness


def main() -> int:
    arguments = _arguments()
    model = locate(_MODEL).path
    if not model.is_file():
        return _fail(f"{model} is missing: run scripts/serve once")
    samples: dict[str, list[float]] = defaultdict(list)
    try:
        _measure(model, arguments, samples)
    except (BadAnswer, DidNotSay, modelfile.StillCached, aiohttp.ClientError, OSError) as error:
        return _fail(f"{type(error).__name__}: {error}")
    finally:
        if samples:
            _report(samples, arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    rounds = range(1, _MOST_ROUNDS + 1)
    parser.add_argument("--rounds", type=int, choices=rounds, default=5, metavar="N")
    parser.add_argument("--idle-s", type=_idle_s, default=20.0, help="how long to look at idleness")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser.parse_args()


def _idle_s(text: str) -> float:
    if not 1 <= (seconds := float(text)) <= _IDLE_AT_MOST_S:
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {_IDLE_AT_MOST_S} seconds")
    return seconds


def _measure(model: Path, arguments: argparse.Namespace, samples: dict[str, list[float]]) -> None:
    """Adds what each round found, so that what was found is kept whatever comes."""
    with scratch_directory() as directory, listening(directory) as upstream:
        (models := directory / "models").mkdir()
        bench = Bench(
            upstream=upstream.url,
            model=modelfile.copy_of(model, models),
            idle_s=arguments.idle_s,
        )
        for number in range(1, arguments.rounds + 1):
            values = {"load_average": os.getloadavg()[0], **asyncio.run(_round_within(bench))}
            found = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
            print(f"round {number} of {arguments.rounds}: {found}", file=sys.stderr, flush=True)
            for key, value in values.items():
                samples[key].append(value)


async def _round_within(bench: Bench) -> dict[str, float]:
    async with asyncio.timeout(_ROUND_WITHIN_S + 3 * bench.idle_s):
        return await one_round(bench)


def _report(samples: dict[str, list[float]], file: Path | None) -> None:
    print(render(samples), flush=True)
    load = spread(samples["load_average"], 1)
    rounds = f"{len(samples['load_average'])} rounds on {os.cpu_count()} cores"
    print(f"\nMedian (lowest-highest) of {rounds}; load average before a round {load}.")
    if file:
        report = {
            "facts": {"cores": os.cpu_count(), "machine": platform.platform()},
            "samples": samples,
            "medians": {key: median(values) for key, values in samples.items()},
        }
        file.write_text(json.dumps(report, indent=1) + "\n")


def _fail(why: str) -> int:
    print(f"standby: {why}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
