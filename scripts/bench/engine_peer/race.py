"""Contenders side by side: all started, then asked in turn, round by round.

The order moves on with every round, so that neither always comes first, and a machine that gets
slower meets both. Whoever is not asked does nothing meanwhile.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import aiohttp
from at_rest.proc import memory
from at_rest.starts import DidNotSay, Started
from healthy_path.processes import free_port, running, scratch_directory

from engine_peer.chat import Chat, Refused, chatting
from engine_peer.contenders import Contender
from engine_peer.reading import BadStream

Values = dict[str, float]

_SETTLES_S = 0.2  # llama.cpp's threads spin on for a moment after their last work
_NOT_MEASURED = "not measured"
_CALIBRATES_WITHIN_S, _LOOKS_EVERY_S = 1200.0, 2.0

FAILURES = (BadStream, DidNotSay, Refused, aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""What a contender may answer with, or not answer with."""


@dataclass(frozen=True, slots=True)
class Racer:
    """A contender that can answer."""

    name: str
    chat: Chat
    started: Started

    def memory_mb(self) -> tuple[float, float]:
        """Resident memory (10^6 bytes) of all its processes, and of the largest, the engine. What
        they share counts in each: a fair share would depend on who else has mapped the model."""
        each = [memory(pid).rss_mb for pid in self.started.process.pids()]
        return sum(each), max(each)


@dataclass(slots=True)
class Results:
    """All samples of a run, as they come in: who -> measure -> one value a round."""

    say: Callable[[str], None]
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, who: str, values: Values) -> None:
        """One round of one contender."""
        found = ", ".join(f"{key} {value:.3g}" for key, value in values.items())
        self.say(f"    {who}: {found}")
        mine = self.samples.setdefault(who, {})
        for key, value in values.items():
            mine.setdefault(key, []).append(value)

    @contextmanager
    def noting_failures(self) -> Iterator[None]:
        """A part whose failure is noted and leaves the other parts alone."""
        try:
            yield
        except FAILURES as error:
            self.failures.append(f"{type(error).__name__}: {error}")
            self.say(f"  {self.failures[-1]}")


@asynccontextmanager
async def started(
    contenders: Sequence[Contender], notes: list[str] | None = None
) -> AsyncIterator[list[Racer]]:
    """All of them, ready; those that measure the machine have done so, each alone on it, and
    `notes` get what they chose. Raises `DidNotSay`."""
    for contender in contenders:
        if contender.calibrates:
            _note(f"{contender.name}: {await _calibrated(contender)}", notes)
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(_racer(each)) for each in contenders]


@asynccontextmanager
async def _racer(contender: Contender) -> AsyncIterator[Racer]:
    with scratch_directory() as directory:
        port, log = free_port(), directory / "log"
        launch, began_at = contender.launch(port, directory), perf_counter()
        with running(launch, cores=os.sched_getaffinity(0), log=log) as process:
            begun = Started(process, began_at)
            await begun.says(contender.ready)
            async with chatting(f"http://127.0.0.1:{port}") as chat:
                yield Racer(contender.name, chat, begun)


async def _calibrated(contender: Contender) -> str:
    """What a first life of the service chose, once it has measured; a later life finds it. The
    status page is asked in that life alone: it costs memory."""
    async with _racer(contender) as racer:
        until = perf_counter() + _CALIBRATES_WITHIN_S
        while True:
            tuning: str = (await racer.chat.get("/fallback/status"))["local"]["tuning"]
            if not tuning.startswith(_NOT_MEASURED) or perf_counter() > until:
                return tuning
            await asyncio.sleep(_LOOKS_EVERY_S)


def _note(text: str, notes: list[str] | None) -> None:
    if notes is not None and text not in notes:
        notes.append(text)


async def race(
    racers: Sequence[Racer],
    rounds: int,
    measure: Callable[[Racer, int], Awaitable[Values]],
    results: Results,
) -> None:
    """Ask each in every round; the number of the round makes its texts new ones."""
    for number in range(rounds):
        first = number % len(racers)
        for racer in (*racers[first:], *racers[:first]):
            results.add(racer.name, await measure(racer, number))
            await asyncio.sleep(_SETTLES_S)
