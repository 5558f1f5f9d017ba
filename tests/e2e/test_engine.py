"""What the engine keeps, guesses and moves changes no answer."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fallback.core.conversation import Conversation, Sampling, Text, Turn
from fallback.core.errors import EngineBusy
from fallback.core.ports import (
    EngineEvent,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Piece,
)
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings

CODE = """def total(prices):
    result = 0
    for price in prices:
        result = result + price
    return result


def mean(prices):
    return total(prices) / len(prices)
"""
EDIT = f"Repeat this code exactly as it is, and nothing else:\n\n```python\n{CODE}```"
LINE = "The quick brown fox jumps over the lazy dog, and the dog does not mind.\n"
STORY = "Once upon a time there was a lighthouse keeper who counted the ships. " * 12


def settings(model: Path, **changes: object) -> WorkerSettings:
    # Frequent heartbeats keep the gauges fresh; a busy machine may miss many of them.
    base = WorkerSettings(
        model_path=str(model),
        model_name="smollm2",
        context_tokens=4096,
        heartbeat_s=0.05,
        heartbeat_misses=1000,
    )
    return msgspec.structs.replace(base, **changes)


def ask(*said: str, max_tokens: int = 16, priority: int = 0, **sampling: object) -> GenerateRequest:
    """A request after these turns, the client's and the model's in turn."""
    wishes = msgspec.structs.replace(Sampling(temperature=0.0), **sampling)
    turns = tuple(
        Turn("assistant" if n % 2 else "user", (Text(text),)) for n, text in enumerate(said)
    )
    return GenerateRequest(
        id=said[-1][:20],
        conversation=Conversation(model="claude", turns=turns, sampling=wishes),
        max_tokens=max_tokens,
        priority=priority,
    )


@asynccontextmanager
async def running(worker: WorkerSettings) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(worker, environment=os.environ)
    engine.start()
    try:
        await engine.ready(60)
        yield engine
    finally:
        await engine.stop()


async def collect(engine: LocalEngine, request: GenerateRequest) -> list[EngineEvent]:
    return [event async for event in engine.generate(request)]


def pieces_of(events: list[EngineEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, Piece)]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(pieces_of(events))


def start_of(events: list[EngineEvent]) -> GenerationStarted:
    (start,) = (event for event in events if isinstance(event, GenerationStarted))
    return start


def end_of(events: list[EngineEvent]) -> GenerationFinished:
    end = events[-1]
    assert isinstance(end, GenerationFinished)
    return end


async def until_idle(engine: LocalEngine) -> None:
    """Heartbeats bring the gauges; there is nothing else to wait for."""
    async with asyncio.timeout(60):
        while engine.status().active + engine.status().queued:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_drafts_change_no_answer(model_path: Path) -> None:
    """What is guessed and checked is what would have been said, in fewer steps."""
    requests = [
        # One token alone is computed with other rounding than several: only where the choice is
        # clear can the answers be the same to the letter. So it is made clear.
        msgspec.structs.replace(
            ask(
                f"Repeat this line ten times:\n{LINE}",
                max_tokens=48,
                temperature=temperature,
                seed=11,
                frequency_penalty=-1.0,
            ),
            prefix=LINE * 2 + LINE[:20],
        )
        for temperature in (0.0, 0.2)
    ]
    answers: dict[bool, list[list[EngineEvent]]] = {}
    for drafts in (True, False):
        async with running(settings(model_path, drafts=drafts)) as engine:
            answers[drafts] = [await collect(engine, request) for request in requests]
    for guessed, plain in zip(answers[True], answers[False], strict=True):
        assert text_of(guessed) == text_of(plain)
        assert end_of(guessed).output_tokens == end_of(plain).output_tokens
        # Each step that says anything says it in a piece of its own.
        assert len(pieces_of(guessed)) < 0.8 * len(pieces_of(plain))


async def test_the_next_turn_is_not_read_from_its_beginning(model_path: Path) -> None:
    """The second turn of a conversation reuses the first's computation, and is answered as a
    worker answers it that has never heard of it."""
    first = ask(STORY)
    async with running(settings(model_path)) as engine:
        before = await collect(engine, first)
        second = ask(STORY, text_of(before), "And what was his name?")
        after = await collect(engine, second)
    assert start_of(before).cached_tokens == 0
    assert start_of(after).cached_tokens > 0.8 * start_of(before).input_tokens
    assert end_of(after).cached_tokens == start_of(after).cached_tokens
    async with running(settings(model_path, prefix_cache_bytes=0)) as fresh:
        alone = await collect(fresh, second)
    assert start_of(alone).cached_tokens == 0
    assert text_of(alone) == text_of(after)


async def test_a_restart_loses_nothing(model_path: Path, tmp_path: Path) -> None:
    """What one worker computed the next one finds on disk, and answers the same."""
    worker = settings(model_path, cache_dir=str(tmp_path))
    events = []
    for _ in range(2):
        async with running(worker) as engine:
            events.append(await collect(engine, ask(STORY)))
    assert [start_of(each).cached_tokens > 100 for each in events] == [False, True]
    assert text_of(events[0]) == text_of(events[1])


async def test_small_ones_after_a_large_one(model_path: Path) -> None:
    """The context is split for eight at once after one that had all of it, and made whole again;
    each is answered as it is alone, and the large one's beginning is still there."""
    large = ask(STORY * 2, max_tokens=8)
    small = [ask(f"Repeat exactly: {n} {n} {n} {n}") for n in range(8)]
    worker = settings(model_path, slots=8, context_tokens=2048, drafts=False)
    async with running(worker) as engine:
        alone = [await collect(engine, request) for request in (large, *small)]
    async with running(worker) as engine:
        first = await collect(engine, large)
        together = await asyncio.gather(*(collect(engine, request) for request in small))
        again = await collect(engine, large)
    assert [text_of(each) for each in (first, *together)] == [text_of(each) for each in alone]
    assert text_of(again) == text_of(first)
    assert start_of(again).cached_tokens > 0.9 * start_of(first).input_tokens


async def test_who_is_displaced_goes_on_where_it_was(model_path: Path) -> None:
    """A critical request takes the only slot in the midst of an answer, which then ends as if
    nothing had happened."""
    usual = ask(EDIT, max_tokens=48)
    worker = settings(model_path, slots=1, drafts=False)
    async with running(worker) as engine:
        alone = text_of(await collect(engine, usual))
    async with running(worker) as engine:
        urgent: asyncio.Task[list[EngineEvent]] | None = None
        said_before: list[EngineEvent] = []
        said: list[EngineEvent] = []
        async for event in engine.generate(usual):
            said.append(event)
            if len(said) == 4:
                request = ask("What is the capital of France?", priority=1)
                urgent = asyncio.create_task(collect(engine, request))
                urgent.add_done_callback(lambda _: said_before.extend(said))
        assert urgent is not None
        answer = await urgent
    assert text_of(answer)
    assert 4 <= len(said_before) < len(said)
    assert text_of(said) == alone


async def test_late(model_path: Path) -> None:
    """Who would have to wait for longer than it can is refused at once, and told when to come
    again."""
    async with running(settings(model_path, slots=1)) as engine:
        async with aclosing(engine.generate(ask("Count.", max_tokens=2000))) as long:
            await anext(long)
            await anext(long)
            hurried = msgspec.structs.replace(ask("Hello."), late_after_s=0.001)
            with pytest.raises(EngineBusy) as refused:
                await collect(engine, hurried)
            assert refused.value.retry_after_s is not None
            assert refused.value.retry_after_s >= 1
        assert text_of(await collect(engine, ask("Hello.")))


async def test_who_leaves_leaves_nothing(model_path: Path) -> None:
    """Of many, half go at a random moment; the rest are answered, and the engine is idle after
    it, and answers."""
    randomly = random.Random(4)

    async def answer(n: int) -> int:
        events = 0
        patience = randomly.choice([None, randomly.randrange(12)])
        request = ask(f"{n} is my favourite number. " * randomly.randrange(1, 20), max_tokens=10)
        async with aclosing(engine.generate(request)) as replies:
            async for event in replies:
                events += 1
                if patience is not None and events > patience:
                    return 0
                if isinstance(event, GenerationFinished):
                    return event.output_tokens
        raise AssertionError("an answer without an end")

    async def leave_soon(n: int) -> None:
        task = asyncio.create_task(answer(n))
        for _ in range(randomly.randrange(20)):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})

    async with running(settings(model_path, queue_limit=40)) as engine:
        quick = [leave_soon(n) for n in range(10)]
        answers = await asyncio.gather(*(answer(n) for n in range(10, 30)), *quick)
        assert sum(bool(tokens) for tokens in answers) >= 5
        await until_idle(engine)
        assert text_of(await collect(engine, ask("Hello.")))
        assert engine.status().restarts == 0
