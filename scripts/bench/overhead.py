#!/usr/bin/env python3
"""What a proxy costs while the cloud is well: fallback, with its ledger and without, nginx, LiteLLM
and Portkey in one run.

A mock upstream on loopback answers at once; each proxy in turn stands in front of it on a core of
its own, round by round, in an order that moves on with every round. CPU is that of the proxy's
process tree, less what it uses when idle. Prints medians, ratios and the targets; ends with 0 when
every target is met, with 1 when one is missed or could not be measured.

    .venv/bin/python scripts/bench/overhead.py --install            brings the peers here
    .venv/bin/python scripts/bench/overhead.py --json result.json   all of it, about 15 minutes
    .venv/bin/python scripts/bench/overhead.py --quick              a look; figures mean little
    .venv/bin/python scripts/bench/overhead.py --only fallback,nginx --cases messages-2kb
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import uvloop
from healthy_path.measure import STEPS, Bench, Effort, Turn, direct_turn, peer_turn
from healthy_path.mock_upstream import listening
from healthy_path.peers import PEERS, Peer, PeerMissing
from healthy_path.processes import scratch_directory
from healthy_path.report import as_json, judge, render

_THOROUGH = Effort(case_s=3.0, warm_s=0.7, idle_s=2.0)
_QUICK = Effort(case_s=0.8, warm_s=0.3, idle_s=0.5)
_MOST_ROUNDS = 20


class _Results:
    """All samples and failures of a run, as they come in."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.failures: list[str] = []

    def add(self, turn: Turn) -> None:
        mine = self.samples.setdefault(turn.who, defaultdict(list))
        for key, value in turn.values.items():
            mine[key].append(value)
        self.failures += turn.failures


def main() -> int:
    arguments = _arguments()
    chosen = [peer for peer in PEERS if peer.name in arguments.only]
    if arguments.install:
        return _install(chosen)
    results = _Results()
    versions = _versions(chosen, results)
    present = [peer for peer in chosen if peer.name in versions]
    uvloop.run(_measure_within(arguments, present, results))
    facts = {"peers": versions, "cores": os.cpu_count(), "machine": platform.platform()}
    print("\n" + render(results.samples, results.failures))
    if arguments.json:
        report = as_json(results.samples, results.failures, facts)
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    met = all(judgement.verdict == "PASS" for judgement in judge(results.samples))
    return 0 if met else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [peer.name for peer in PEERS]
    rounds = range(1, _MOST_ROUNDS + 1)
    parser.add_argument("--install", action="store_true", help="install missing peers, then stop")
    parser.add_argument("--rounds", type=int, choices=rounds, metavar="N", help="5, or 1 if quick")
    parser.add_argument("--quick", action="store_true", help="short, to see it run")
    parser.add_argument("--only", type=_some_of(names), default=names, metavar=",".join(names))
    parser.add_argument("--cases", type=_some_of(STEPS), default=STEPS, metavar=",".join(STEPS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    parser.add_argument("--limit-s", type=float, default=2400.0, help="stop measuring after that")
    return parser.parse_args()


def _some_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        wanted = text.split(",")
        if strange := sorted(set(wanted) - set(known)):
            raise argparse.ArgumentTypeError(f"{strange} not among {', '.join(known)}")
        return wanted

    return parse


def _install(peers: Sequence[Peer]) -> int:
    for peer in peers:
        print(f"{peer.name} ...", flush=True)
        peer.install()
        print(f"{peer.name} {peer.version()}")
    return 0


def _versions(peers: Sequence[Peer], results: _Results) -> dict[str, str]:
    versions = {}
    for peer in peers:
        try:
            versions[peer.name] = peer.version()
        except (PeerMissing, OSError, subprocess.SubprocessError) as error:
            results.failures.append(f"{peer.name} is not here: {error}")
    _say(", ".join(f"{name} {version}" for name, version in versions.items()))
    return versions


async def _measure_within(
    arguments: argparse.Namespace, peers: Sequence[Peer], results: _Results
) -> None:
    """Measures until done, until the limit or until told to stop; what was found is kept."""
    measuring = asyncio.ensure_future(_measure(arguments, peers, results))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, measuring.cancel)
    try:
        await asyncio.wait_for(measuring, arguments.limit_s)
    except (asyncio.CancelledError, TimeoutError):
        results.failures.append("stopped early: fewer rounds than wanted")


async def _measure(arguments: argparse.Namespace, peers: Sequence[Peer], results: _Results) -> None:
    proxy_cores, our_cores = _split_cores()
    os.sched_setaffinity(0, our_cores)
    with scratch_directory() as directory, listening(directory) as upstream:
        bench = Bench(
            upstream=upstream,
            effort=_QUICK if arguments.quick else _THOROUGH,
            proxy_cores=proxy_cores,
            steps=arguments.cases,
        )
        rounds = arguments.rounds or (1 if arguments.quick else 5)
        for number in range(rounds):
            _say(f"round {number + 1} of {rounds}")
            await _round(number, peers, bench, results)


async def _round(number: int, peers: Sequence[Peer], bench: Bench, results: _Results) -> None:
    _note(await direct_turn(bench), results)
    first = number % len(peers) if peers else 0
    for peer in (*peers[first:], *peers[:first]):
        _note(await peer_turn(peer, bench), results)


def _note(turn: Turn, results: _Results) -> None:
    results.add(turn)
    found = ", ".join(f"{key} {value:.3g}" for key, value in turn.values.items())
    _say(f"  {turn.who}: {found}")
    for failure in turn.failures:
        _say(f"  {failure}")


def _split_cores() -> tuple[set[int], set[int]]:
    """One core for the proxy, the others for the mock upstream and the load generator."""
    *others, last = sorted(os.sched_getaffinity(0))
    return {last}, set(others) or {last}


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
