#!/usr/bin/env python3
"""What keeping a conversation warm costs the requests that pass meanwhile, and the machine.

Each round starts `fallback serve` twice, a mock upstream in front of it: once with the model only
loaded, once keeping a Claude Code conversation of 120 KB warm, which takes longer than the round.
Measured in both, on all cores: the proxy process's CPU a request at 16 connections, latencies at
one, and how much of the machine the worker took. Ends with 1 where a median of the warm turns is
more than a tenth above, and above all that was seen without.

    .venv/bin/python scripts/bench/warm_standby.py --rounds 5 --json result.json
    .venv/bin/python scripts/bench/warm_standby.py --rounds 1 --case-s 1       a look
"""

import argparse
import asyncio
import json
import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any
from urllib.request import urlopen

import psutil
import uvloop
from healthy_path import payloads
from healthy_path.load import Ask, BadAnswer, closed_loop
from healthy_path.mock_upstream import Upstream, listening
from healthy_path.payloads import Case
from healthy_path.peers import ROOT
from healthy_path.processes import Launch, Process, free_port, running, scratch_directory

LOADED, WARM = "loaded", "warm"
CASES = (payloads.MESSAGES_2KB, payloads.MESSAGES_120KB)
_CONNECTIONS = 16
_READY_WITHIN_S = 60.0
_WORKER_SHARE = "worker, share of all cores"
_WORSE = 1.1

Samples = dict[str, dict[str, list[float]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Service:
    """A running `fallback serve`."""

    process: Process
    port: int

    def status(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.port}/fallback/status", timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def ask(self, case: Case) -> Ask:
        wire = payloads.wire_request(case, self.port)
        return Ask(port=self.port, wire=wire, marks=case.marks)

    def proxy_s(self) -> float:
        """Processor seconds of the proxy process alone."""
        return _cpu_s(self.process.child.pid)

    def worker_s(self) -> float:
        return _cpu_s(self.status()["local"]["pid"])


def _cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


def main() -> int:
    arguments = _arguments()
    samples: Samples = {LOADED: defaultdict(list), WARM: defaultdict(list)}
    try:
        with scratch_directory() as directory, listening(directory) as upstream:
            for number in range(arguments.rounds):
                for mode in (LOADED, WARM)[:: 1 if number % 2 else -1]:
                    found = uvloop.run(_turn(mode, upstream, directory, arguments.case_s))
                    _say(f"round {number + 1}, {mode}: {found}")
                    for key, value in found.items():
                        samples[mode][key].append(value)
    except (BadAnswer, OSError, TimeoutError, RuntimeError) as error:
        _say(f"{type(error).__name__}: {error}")
        return 1
    worse = _report(samples)
    if arguments.json:
        arguments.json.write_text(json.dumps(samples, indent=1) + "\n")
    return 1 if worse else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, choices=range(1, 21), default=5, metavar="N")
    parser.add_argument("--case-s", type=float, default=4.0, help="how long to look at each case")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there")
    return parser.parse_args()


async def _turn(mode: str, upstream: Upstream, directory: Path, case_s: float) -> dict[str, float]:
    port = free_port()
    with running(
        _launch(mode, port, upstream, directory),
        cores=range(os.cpu_count() or 1),
        log=directory / "log",
    ) as process:
        service = _Service(process=process, port=port)
        await _ready(service)
        await closed_loop(service.ask(payloads.MESSAGES_120KB), connections=1, seconds=1, most=1)
        await _until_at_it(service, mode)
        found = await _measured(service, case_s)
        _check(service, mode)
        return found


def _launch(mode: str, port: int, upstream: Upstream, directory: Path) -> Launch:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return Launch(
        command=(str(ROOT / ".venv/bin/fallback"), "serve", "--port", str(port)),
        environment=kept
        | {
            "FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL": upstream.url,
            "FALLBACK_LOCAL__STANDBY": mode,
            "FALLBACK_LOCAL__CALIBRATE": "off",
            "FALLBACK_LOCAL__REQUANTIZE": "off",
            "FALLBACK_STORAGE__PATH": str(directory / "fallback.db"),
        },
    )


async def _ready(service: _Service) -> None:
    until = perf_counter() + _READY_WITHIN_S
    while perf_counter() < until and not service.process.has_ended():
        try:
            if (await asyncio.to_thread(service.status))["local"]["state"] == "ready":
                return
        except OSError:
            pass
        await asyncio.sleep(0.1)
    raise RuntimeError(f"the service did not become ready: {service.process.log_tail()}")


async def _until_at_it(service: _Service, mode: str) -> None:
    """Whoever keeps warm has begun with it, and nobody else computes."""
    for _ in range(100):
        if mode != WARM or service.status()["standby"]["state"] == "warming":
            break
        await asyncio.sleep(0.1)
    await asyncio.sleep(2.0)
    _check(service, mode)


def _check(service: _Service, mode: str) -> None:
    standby = service.status()["standby"]
    if mode == WARM and standby["state"] != "warming":
        raise RuntimeError(f"nothing was being warmed while it was measured: {standby}")


async def _measured(service: _Service, case_s: float) -> dict[str, float]:
    found: dict[str, float] = {}
    began, worker_s = perf_counter(), service.worker_s()
    for case in CASES:
        ask = service.ask(case)
        await closed_loop(ask, connections=_CONNECTIONS, seconds=case_s / 4)
        proxy_s = service.proxy_s()
        load = await closed_loop(ask, connections=_CONNECTIONS, seconds=case_s)
        used_s = service.proxy_s() - proxy_s
        found[f"proxy CPU µs, {case.title}"] = 1e6 * used_s / len(load.latencies_s)
    load = await closed_loop(service.ask(payloads.MESSAGES_2KB), connections=1, seconds=case_s)
    percentiles = quantiles(load.latencies_s, n=100)
    found["p50 ms, 1 connection"] = 1e3 * percentiles[49]
    found["p99 ms, 1 connection"] = 1e3 * percentiles[98]
    seconds = (perf_counter() - began) * (os.cpu_count() or 1)
    found[_WORKER_SHARE] = (service.worker_s() - worker_s) / seconds
    return found


def _report(samples: Samples) -> list[str]:
    """Print the table; what was worse."""
    worse = []
    print("| | loaded | warm | warm / loaded |\n| - | - | - | - |")
    for key, without in samples[LOADED].items():
        with_it = samples[WARM][key]
        times = median(with_it) / median(without) if median(without) else float("inf")
        shown = "" if key == _WORKER_SHARE else f"{times:.2f}"
        print(f"| {key} | {_spread(without)} | {_spread(with_it)} | {shown} |")
        if shown and times > _WORSE and median(with_it) > max(without):
            worse.append(key)
    print("\n" + (f"FAIL: {', '.join(worse)}" if worse else "PASS: within what is seen without"))
    return worse


def _spread(values: Sequence[float]) -> str:
    return f"{median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
