#!/usr/bin/env python3
"""Eight clients of mixed importance for ten minutes, who leave early now and then, and a worker
that is killed every minute: nothing may be lost, nothing leak, nothing critical wait.

Asks the whole service over HTTP, every request going to the local tier. Prints Markdown; ends with
0 when all holds. The same seed gives the same requests, not the same times.

    .venv/bin/python scripts/bench/soak.py                        ten minutes and a little
    .venv/bin/python scripts/bench/soak.py --minutes 1 --kill-every-s 15
"""

import argparse
import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from engine_peer.build import ROOT
from engine_peer.chat import Chat
from engine_peer.contenders import OURS, our_environment
from engine_peer.race import Racer, started
from healthy_path.processes import Launch
from soaking.clients import client
from soaking.killer import kill_every
from soaking.mix import CLIENTS, CONFIG, wishes
from soaking.rest import at_rest, leaks
from soaking.tally import Ended, Soak, render, verdicts

from fallback.modelstore.store import locate

_MODEL = "smollm2-135m-instruct"
_SLOTS = 4
_MOST_MINUTES = 120


def main() -> int:
    arguments = _arguments()
    model = locate(_MODEL).path
    if not model.is_file():
        print(f"soak: {model} is missing: run scripts/serve once", file=sys.stderr)
        return 1
    soak = asyncio.run(_soak(arguments, model))
    print(render(soak))
    return 0 if all(verdict.holds for verdict in verdicts(soak)) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=_minutes, default=10.0)
    parser.add_argument("--kill-every-s", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def _minutes(text: str) -> float:
    if not 0 < (minutes := float(text)) <= _MOST_MINUTES:
        raise argparse.ArgumentTypeError(f"{text} is not up to {_MOST_MINUTES} minutes")
    return minutes


@dataclass(frozen=True, slots=True)
class _Service:
    """The service with rules that know the clients by a header."""

    model: Path
    name: str = OURS
    ready: str = "local is ready"
    calibrates: bool = False

    def launch(self, port: int, directory: Path) -> Launch:
        config = directory / "fallback.toml"
        config.write_text(CONFIG)
        program = ROOT / ".venv" / "bin" / "fallback"
        return Launch(
            command=(str(program), "serve", "--port", str(port), "--config", str(config)),
            environment={
                **our_environment(directory),
                "FALLBACK_LOCAL__MODEL": str(self.model),
                "FALLBACK_LOCAL__SLOTS": str(_SLOTS),
                "FALLBACK_LOCAL__STANDBY": "loaded",
            },
        )


async def _soak(arguments: argparse.Namespace, model: Path) -> Soak:
    async with started((_Service(model),)) as (service,):
        _say("alone ...")
        rest = await at_rest(service.chat, arguments.seed)
        before_mb, _ = service.memory_mb()
        _say(f"{len(CLIENTS)} clients for {arguments.minutes:g} minutes, seed {arguments.seed} ...")
        ends, gaps = await _everybody(service, arguments)
        _say("is everything free again? ...")
        return Soak(
            ends=ends,
            rest=rest,
            gaps=gaps,
            leaks=await leaks(service.chat, _SLOTS, arguments.seed),
            memory_mb=(before_mb, service.memory_mb()[0]),
        )


async def _everybody(
    service: Racer, arguments: argparse.Namespace
) -> tuple[list[Ended], list[tuple[float, float]]]:
    chat: Chat = service.chat
    ends: list[Ended] = []
    gaps: list[tuple[float, float]] = []
    until = perf_counter() + 60 * arguments.minutes
    async with asyncio.TaskGroup() as group:
        group.create_task(kill_every(chat, arguments.kill_every_s, until, gaps))
        for number, importance in enumerate(CLIENTS):
            asked = wishes(number, arguments.seed)
            group.create_task(client(chat, importance, asked, until, ends.append))
    return ends, gaps


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
