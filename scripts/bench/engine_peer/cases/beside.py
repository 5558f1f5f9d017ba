"""Three answers run; then a prompt of 2,000 tokens comes. How much slower do they get meanwhile?"""

import asyncio
from functools import partial

from engine_peer.cases.base import Bench, Case, alike
from engine_peer.chat import question
from engine_peer.contenders import Contender
from engine_peer.figures import Stream, longest_pause_s, slowdown
from engine_peer.prompts import story
from engine_peer.race import Racer, Values
from engine_peer.reading import Answer, Reading
from engine_peer.report import Measure

_STREAMS, _STREAM_TOKENS, _RUN_IN = 3, 1000, 32
_LONG_TOKENS, _SLOT_TOKENS = 2000, 4096
_KINDS = {"same": "same settings", "own": "as it comes"}


async def _run(bench: Bench) -> None:
    task = bench.task(_STREAMS + 1, _SLOT_TOKENS)
    sides: dict[str, tuple[Contender, ...]] = {
        "same": alike(task),
        "own": bench.as_they_come(task),
    }
    for kind, contenders in sides.items():
        bench.say(f"  {_KINDS[kind]}")
        await bench.race(contenders, partial(_measure, bench, kind))


async def _measure(bench: Bench, kind: str, racer: Racer, number: int) -> Values:
    seed = 10 * number + 5000
    streams = [
        _Running(racer, question(story(32, seed + each), max_tokens=_STREAM_TOKENS))
        for each in range(_STREAMS)
    ]
    try:
        await asyncio.gather(*(stream.ran_in() for stream in streams))
        long = await racer.chat.ask(
            question(story(bench.sized(_LONG_TOKENS), seed + _STREAMS), max_tokens=1)
        )
        found = [stream.seen() for stream in streams]
    finally:
        for stream in streams:
            await stream.leave()
    asked, first = long.asked_at, long.content_at[0]
    return {
        f"beside_{kind}/slowdown": slowdown(found, asked, first),
        f"beside_{kind}/pause_s": longest_pause_s(found, asked, first),
        f"beside_{kind}/wait_s": long.first_token_s,
    }


class _Running:
    """An answer that runs until nobody looks any more."""

    def __init__(self, racer: Racer, body: dict[str, object]) -> None:
        self._has_run_in = asyncio.Event()
        self._reading: Reading | None = None
        self._task: asyncio.Task[Answer] = asyncio.create_task(
            racer.chat.ask(body, seen=self._hear)
        )

    def seen(self) -> Stream:
        """Its parts until now."""
        assert self._reading is not None
        return Stream(tuple(self._reading.content_at), self._task.done())

    async def ran_in(self) -> None:
        """Its rate is steady now. Raises what the answer ended with, if it has ended."""
        waiting = asyncio.create_task(self._has_run_in.wait())
        await asyncio.wait((waiting, self._task), return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if self._task.done() and not self._has_run_in.is_set():
            self._task.result()

    async def leave(self) -> None:
        """What is left of the answer is not wanted."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def _hear(self, reading: Reading) -> None:
        self._reading = reading
        if len(reading.content_at) >= _RUN_IN:
            self._has_run_in.set()


def _measures(kind: str, side: str) -> tuple[Measure, ...]:
    return (
        Measure(
            key=f"beside_{kind}/slowdown",
            title=f"times slower meanwhile, {side}",
            digits=2,
            better="less",
            at_least=1.0,
        ),
        Measure(
            key=f"beside_{kind}/pause_s",
            title=f"longest pause meanwhile, s, {side}",
            digits=2,
            better="less",
        ),
        Measure(
            key=f"beside_{kind}/wait_s",
            title=f"time to the long one's first token, s, {side}",
            digits=2,
            better="less",
        ),
    )


CASE = Case(
    name="beside",
    title="Three running answers beside the reading of 2,000 tokens",
    measures=tuple(measure for kind, side in _KINDS.items() for measure in _measures(kind, side)),
    run=_run,
)
