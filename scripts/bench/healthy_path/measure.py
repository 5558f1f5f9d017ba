"""One turn: everything that is measured of one proxy in one round."""

import asyncio
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from healthy_path import payloads
from healthy_path.load import Ask, BadAnswer, closed_loop, paced_streams
from healthy_path.mock_upstream import Upstream
from healthy_path.payloads import Case
from healthy_path.peers import Peer, Setup
from healthy_path.processes import Process, free_port, running, scratch_directory
from healthy_path.report import DIRECT

CONNECTIONS = 16
STREAMS = 16
LOOPED = (
    payloads.MESSAGES_2KB,
    payloads.MESSAGES_120KB,
    payloads.MESSAGES_STREAM,
    payloads.CHAT_2KB,
    payloads.CHAT_STREAM,
)
PACED = (payloads.MESSAGES_PACED, payloads.CHAT_PACED)
LATENCY, TLS = "latency", "tls-2kb"
STEPS = (*(case.name for case in (*LOOPED, *PACED)), LATENCY, TLS)

_SETTLES_S = 3.0
_STARTS_WITHIN_S = 60.0
_LATENCIES = 3000  # a bound on what is asked one after the other


class DidNotStart(Exception):
    """The proxy gave no good answer in time; says what it wrote instead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How long to look at things, in seconds."""

    case_s: float
    warm_s: float
    idle_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all turns have in common."""

    upstream: Upstream
    effort: Effort
    proxy_cores: Collection[int]
    steps: Collection[str]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was found: one value a measure, and what went wrong."""

    who: str
    values: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """A part whose failure is noted and leaves the other parts alone."""
        try:
            yield
        except (BadAnswer, DidNotStart, OSError, TimeoutError) as error:
            self.failures.append(f"{self.who}, {what}: {str(error) or type(error).__name__}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Proxy:
    """A proxy that answers."""

    peer: Peer
    setup: Setup
    process: Process
    start_s: float

    def ask(self, case: Case) -> Ask:
        return _ask(self.peer, self.setup, case)


def _ask(peer: Peer, setup: Setup, case: Case) -> Ask:
    wire = payloads.wire_request(case, setup.port, peer.headers(case.path, setup))
    return Ask(port=setup.port, wire=wire, marks=case.marks)


def _ask_direct(bench: Bench, case: Case) -> Ask:
    port = bench.upstream.plain_port
    return Ask(port=port, wire=payloads.wire_request(case, port), marks=case.marks)


async def direct_turn(bench: Bench) -> Turn:
    """The same without a proxy: what is left are latency and what the load generator can do."""
    turn = Turn(DIRECT)
    for case in LOOPED:
        if case.name in bench.steps:
            with turn.step(case.title):
                load = await closed_loop(
                    _ask_direct(bench, case), connections=CONNECTIONS, seconds=bench.effort.case_s
                )
                turn.values[f"rate/{case.name}"] = len(load.latencies_s) / load.wall_s
    if LATENCY in bench.steps:
        with turn.step(LATENCY):
            direct_s = await _latencies(_ask_direct(bench, payloads.MESSAGES_2KB), bench)
            turn.values["p50_ms"] = 1e3 * _percentile(direct_s, 50)
    return turn


async def peer_turn(peer: Peer, bench: Bench) -> Turn:
    """Starts the proxy, measures it, ends it; then once more in front of a TLS upstream."""
    turn = Turn(peer.name)
    with turn.step("start"):
        async with _started(peer, bench, bench.upstream.url) as proxy:
            await _plain_part(proxy, bench, turn)
    if TLS in bench.steps:
        with turn.step("TLS upstream"):
            async with _started(peer, bench, bench.upstream.tls_url) as proxy:
                idle_share = await _idle_share(proxy, bench.effort)
                case = payloads.MESSAGES_2KB
                turn.values.update(await _looped(proxy, case, bench.effort, idle_share, TLS))
    return turn


async def _plain_part(proxy: _Proxy, bench: Bench, turn: Turn) -> None:
    # What a proxy loads behind its first answer is no cost of being idle.
    await asyncio.sleep(_SETTLES_S)
    idle_share = await _idle_share(proxy, bench.effort)
    turn.values["start_s"] = proxy.start_s
    turn.values["rss_mb"] = proxy.process.rss_mb()
    turn.values["idle_cpu_ms_per_s"] = 1e3 * idle_share
    for case in LOOPED:
        if case.name in bench.steps:
            with turn.step(case.title):
                turn.values.update(await _looped(proxy, case, bench.effort, idle_share, case.name))
    for case in PACED:
        if case.name in bench.steps:
            with turn.step(case.title):
                turn.values.update(await _paced(proxy, case, bench.effort, idle_share))
    if LATENCY in bench.steps:
        with turn.step(LATENCY):
            turn.values.update(await _added_latency(proxy, bench))


@asynccontextmanager
async def _started(peer: Peer, bench: Bench, upstream_url: str) -> AsyncIterator[_Proxy]:
    with scratch_directory() as directory:
        setup = Setup(
            port=free_port(),
            upstream=upstream_url,
            ca_file=bench.upstream.ca_file,
            directory=directory,
        )
        launch, log = peer.launch(setup), setup.directory / "log"
        started_at = perf_counter()
        with running(launch, cores=bench.proxy_cores, log=log) as process:
            await _first_answer(process, _ask(peer, setup, payloads.MESSAGES_2KB))
            start_s = perf_counter() - started_at
            yield _Proxy(peer=peer, setup=setup, process=process, start_s=start_s)


async def _first_answer(process: Process, ask: Ask) -> None:
    until, why = perf_counter() + _STARTS_WITHIN_S, ""
    while perf_counter() < until and not process.has_ended():
        try:
            await closed_loop(ask, connections=1, seconds=_STARTS_WITHIN_S, most=1)
        except (BadAnswer, OSError, TimeoutError) as error:
            why = str(error)
            await asyncio.sleep(0.005)
        else:
            return
    raise DidNotStart(f"{why}\n{process.log_tail()}")


async def _idle_share(proxy: _Proxy, effort: Effort) -> float:
    """CPU seconds a second with nothing to do, once the start has had time to settle."""
    await asyncio.sleep(effort.idle_s / 2)
    cpu_s, since = proxy.process.cpu_s(), perf_counter()
    await asyncio.sleep(effort.idle_s)
    return (proxy.process.cpu_s() - cpu_s) / (perf_counter() - since)


async def _looped(
    proxy: _Proxy, case: Case, effort: Effort, idle_share: float, name: str
) -> dict[str, float]:
    ask = proxy.ask(case)
    await closed_loop(ask, connections=CONNECTIONS, seconds=effort.warm_s)
    cpu_s = proxy.process.cpu_s()
    load = await closed_loop(ask, connections=CONNECTIONS, seconds=effort.case_s)
    busy_s = proxy.process.cpu_s() - cpu_s - idle_share * load.wall_s
    return {
        f"cpu_us/{name}": 1e6 * busy_s / len(load.latencies_s),
        f"rate/{name}": len(load.latencies_s) / load.wall_s,
    }


async def _paced(proxy: _Proxy, case: Case, effort: Effort, idle_share: float) -> dict[str, float]:
    async with paced_streams(proxy.ask(case), STREAMS) as streams:
        await streams.follow(effort.warm_s)
        cpu_s, events, since = proxy.process.cpu_s(), streams.events, perf_counter()
        await streams.follow(effort.case_s)
        wall_s = perf_counter() - since
        busy_s = proxy.process.cpu_s() - cpu_s - idle_share * wall_s
        events = streams.events - events
    due = STREAMS * payloads.PACED_EVENTS_PER_S * wall_s
    if events < 0.9 * due:
        raise BadAnswer(f"{events} of {due:.0f} paced events came in time")
    return {f"cpu_us/{case.name}": 1e6 * busy_s / events}


async def _added_latency(proxy: _Proxy, bench: Bench) -> dict[str, float]:
    """Against going direct just before, so that both see the machine in the same mood."""
    case = payloads.MESSAGES_2KB
    direct_s = await _latencies(_ask_direct(bench, case), bench)
    proxied_s = await _latencies(proxy.ask(case), bench)
    added_ms = {
        percent: 1e3 * (_percentile(proxied_s, percent) - _percentile(direct_s, percent))
        for percent in (50, 99)
    }
    return {
        "p50_ms": 1e3 * _percentile(proxied_s, 50),
        "added_p50_ms": added_ms[50],
        "added_p99_ms": added_ms[99],
    }


async def _latencies(ask: Ask, bench: Bench) -> list[float]:
    load = await closed_loop(ask, connections=1, seconds=bench.effort.case_s, most=_LATENCIES)
    return sorted(load.latencies_s)


def _percentile(ordered: list[float], percent: int) -> float:
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
