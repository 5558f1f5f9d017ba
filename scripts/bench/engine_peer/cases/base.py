"""What all cases have in common."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from engine_peer.contenders import Contender, LlamaServer, Ours, OursSame, Task
from engine_peer.race import Racer, Results, Values, race, started
from engine_peer.report import Measure

PLAIN = {"drafts": False, "prefix_cache_bytes": 0}
"""What the peer has with its defaults spelled out: no drafts, nothing kept beyond the slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What all cases get. `scale` below 1 makes prompts and answers shorter, to see it run."""

    model: Path
    rounds: int
    threads: int
    gpu_layers: int
    scale: float
    results: Results

    def say(self, text: str) -> None:
        """Tell whoever watches how far it is."""
        self.results.say(text)

    def sized(self, tokens: int) -> int:
        """A length for this run."""
        return max(8, round(tokens * self.scale))

    def task(self, slots: int, slot_tokens: int) -> Task:
        """So many requests at once, each with so much context."""
        return Task(
            model=self.model,
            slots=slots,
            slot_tokens=slot_tokens,
            threads=self.threads,
            gpu_layers=self.gpu_layers,
        )

    def as_it_comes(self, task: Task) -> Contender:
        """Ours with what it chooses itself; it has measured the machine before, unless this is
        only a look."""
        return Ours(task, calibrates=self.scale == 1)

    def as_they_come(self, task: Task) -> tuple[Contender, Contender]:
        """Both with what they choose themselves."""
        return self.as_it_comes(task), LlamaServer(task)

    def started(self, *contenders: Contender) -> AbstractAsyncContextManager[list[Racer]]:
        """All of them, ready to be asked."""
        return started(contenders, self.results.notes)

    async def race(
        self,
        contenders: Sequence[Contender],
        measure: Callable[[Racer, int], Awaitable[Values]],
        warm: Callable[[Racer], Awaitable[None]] | None = None,
    ) -> None:
        """Start all, warm each, measure them in turn; what is found goes to the results, a
        failure too: it leaves the other races alone."""
        with self.results.noting_failures():
            async with self.started(*contenders) as racers:
                for racer in racers:
                    if warm:
                        await warm(racer)
                await race(racers, self.rounds, measure, self.results)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A subject: what `run` measures, under which keys."""

    name: str
    title: str
    measures: tuple[Measure, ...]
    run: Callable[[Bench], Awaitable[None]]


def alike(task: Task) -> tuple[Contender, Contender]:
    """Both with the same settings."""
    return OursSame(task, PLAIN), LlamaServer(task, same=True)


def memory_values(prefix: str, streams: int, racer: Racer) -> Values:
    """What the contender takes now, under the keys of `memory_measures`."""
    whole, engine = racer.memory_mb()
    return {f"{prefix}_memory_mb/{streams}": whole, f"{prefix}_engine_mb/{streams}": engine}


def memory_measures(prefix: str, streams: Sequence[int]) -> tuple[Measure, ...]:
    """Resident memory of all processes, and of the engine's alone."""
    kinds = {"memory": "resident memory, MB", "engine": "of it the engine's process"}
    return tuple(
        Measure(
            key=f"{prefix}_{kind}_mb/{each}",
            title=f"{title}, {each} at once",
            digits=0,
            better="less",
            at_least=1.0 if kind == "memory" else None,
        )
        for each in streams
        for kind, title in kinds.items()
    )
