"""One round: everything that is measured, once.

Keys of values: `cold/…` and `warm/…` for starts, `start/…`, `used/…` and `status/…` for rest,
`floor/…` for the bare processes, `later/…` for local answers of a service that has been up.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import aiohttp
from healthy_path.load import Ask, BadAnswer, closed_loop
from healthy_path.payloads import CHAT_2KB, wire_request
from healthy_path.processes import free_port, scratch_directory

from at_rest import modelfile, starts
from at_rest.proc import cpu_s, memory, only_child
from at_rest.starts import LISTENING, READY, Started

CLOUD_ANSWERS, LOCAL_ANSWERS = 100, 5

_SETTLES_S = 3.0  # the worker prepares its grammars once it is ready
_ANSWERS_WITHIN_S = 60.0
_SHORT_PROMPT = {
    "model": "claude-bench",
    "max_tokens": 24,
    "temperature": 0,
    "stream": True,
    "messages": [{"role": "user", "content": "Say hello to the people on call."}],
}

Values = dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all rounds have in common: the upstream that answers, our copy of the model (alone
    in its folder), and how long to look at an idle process."""

    upstream: str
    model: Path
    idle_s: float


@dataclass(frozen=True, slots=True)
class _Service:
    """The service on its way, and where it will listen."""

    started: Started
    port: int

    async def cloud_answers(self, count: int) -> None:
        """So many whole answers through the proxy. Raises `BadAnswer`."""
        ask = Ask(port=self.port, wire=wire_request(CHAT_2KB, self.port), marks=CHAT_2KB.marks)
        await closed_loop(ask, connections=1, seconds=_ANSWERS_WITHIN_S, most=count)

    async def local_answer(self) -> tuple[float, float]:
        """When a local answer's first content and its last byte came, by `perf_counter`."""
        url = f"http://127.0.0.1:{self.port}/v1/messages"
        patience = aiohttp.ClientTimeout(total=_ANSWERS_WITHIN_S)
        async with (
            aiohttp.ClientSession(timeout=patience) as session,
            session.post(url, data=json.dumps(_SHORT_PROMPT)) as response,
        ):
            if "tier=local" not in response.headers.get("llm-provenance", ""):
                raise BadAnswer(f"no local answer: {response.status} {response.headers}")
            return await _content_and_end(response)

    async def ask_status(self) -> None:
        """Asks for the status, which makes the proxy load its control plane."""
        url = f"http://127.0.0.1:{self.port}/fallback/status"
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            response.raise_for_status()
            await response.read()


async def _content_and_end(response: aiohttp.ClientResponse) -> tuple[float, float]:
    body, content_at = b"", 0.0
    async for part in response.content.iter_any():
        body += part
        if not content_at and b"event: content_block_delta" in body:
            content_at = perf_counter()
    if not content_at or b"event: message_stop" not in body:
        raise BadAnswer(f"no whole answer: {body[-300:]!r}")
    return content_at, perf_counter()


async def one_round(bench: Bench) -> Values:
    """Raises `DidNotSay`, `StillCached`, `BadAnswer`, `aiohttp.ClientError`, `OSError`."""
    values: Values = {}
    with scratch_directory() as cache:
        await modelfile.make_cold(bench.model)
        values |= _under("cold", await _start(bench, cache))
        modelfile.make_warm(bench.model)
        values |= _under("warm", await _start(bench, cache))
        values |= await _rest(bench, cache)
    return values | await _floors(bench)


async def _start(bench: Bench, cache: Path) -> Values:
    """Seconds from the process's start; the local answer is asked for as soon as it listens."""
    port = free_port()
    with _running(bench, port, cache) as started:
        running = _Service(started, port)
        listening_s = await started.says(LISTENING)
        await running.cloud_answers(1)
        cloud_s = started.age_s()
        ready_s, (content_at, end_at) = await asyncio.gather(
            started.says(READY), running.local_answer()
        )
    return {
        "listening_s": listening_s,
        "cloud_s": cloud_s,
        "ready_s": ready_s,
        "local_content_s": content_at - started.began_at,
        "local_end_s": end_at - started.began_at,
    }


async def _rest(bench: Bench, cache: Path) -> Values:
    """The warm service before anybody asks, after some use, and after a look at its status."""
    port = free_port()
    with _running(bench, port, cache) as started:
        running = _Service(started, port)
        await started.says(READY)
        pids = {"proxy": started.pid, "worker": only_child(started.pid)}
        values = _under("start", await _idle(pids, bench.idle_s))
        values |= _under("later", await _use(running))
        values |= _under("used", await _idle(pids, bench.idle_s))
        await running.ask_status()
        values |= _under("status", _memories(pids))
    return values


async def _use(running: _Service) -> Values:
    """Seconds from the question, medians of the local answers."""
    await running.cloud_answers(CLOUD_ANSWERS)
    contents_s, ends_s = [], []
    for _ in range(LOCAL_ANSWERS):
        asked_at = perf_counter()
        content_at, end_at = await running.local_answer()
        contents_s.append(content_at - asked_at)
        ends_s.append(end_at - asked_at)
    return {"local_content_s": median(contents_s), "local_end_s": median(ends_s)}


async def _idle(pids: Mapping[str, int], idle_s: float) -> Values:
    """CPU (ms a second) of processes with nothing to do, then their memory."""
    await asyncio.sleep(_SETTLES_S)
    before, since = {who: cpu_s(pid) for who, pid in pids.items()}, perf_counter()
    await asyncio.sleep(idle_s)
    wall_s = perf_counter() - since
    cpu = {
        f"{who}/cpu_ms_per_s": 1e3 * (cpu_s(pid) - before[who]) / wall_s
        for who, pid in pids.items()
    }
    return cpu | _memories(pids)


async def _floors(bench: Bench) -> Values:
    values: Values = {}
    with scratch_directory() as directory:
        await modelfile.make_cold(bench.model)
        with starts.bare_model(bench.model, directory) as cold:
            values["cold/floor_s"] = await cold.loads()
        modelfile.make_warm(bench.model)
        with starts.bare_model(bench.model, directory) as worker:
            values["warm/floor_s"] = await worker.loads()
            with starts.bare_proxy(directory) as proxy:
                await proxy.loads()
                pids = {"proxy": proxy.pid, "worker": worker.pid}
                values |= _under("floor", await _idle(pids, bench.idle_s))
    return values


def _running(bench: Bench, port: int, cache: Path) -> AbstractContextManager[Started]:
    return starts.service(
        port=port,
        upstream=bench.upstream,
        refusing=f"http://127.0.0.1:{free_port()}",
        models=bench.model.parent,
        cache=cache,
    )


def _memories(pids: Mapping[str, int]) -> Values:
    return {
        f"{who}/{name}": value
        for who, pid in pids.items()
        for name, value in asdict(memory(pid)).items()
    }


def _under(prefix: str, values: Mapping[str, float]) -> Values:
    return {f"{prefix}/{key}": value for key, value in values.items()}
