"""Keeping conversations warm in the real worker."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import captured
import pytest

from fallback.core.errors import EngineError
from fallback.core.ports import GenerateRequest, GenerationFinished, GenerationStarted
from fallback.local import wire
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings

BODY = json.dumps(captured.body("cc329-ok")).encode()
LIMIT, BUDGET = 64, 512


@pytest.fixture
async def engine(model_path: Path) -> AsyncIterator[LocalEngine]:
    """A worker that may warm with the whole machine."""
    settings = WorkerSettings(
        model_path=str(model_path),
        model_name="smollm2",
        context_tokens=2048,
        heartbeat_misses=1000,
    )
    engine = LocalEngine(settings, environment=os.environ)
    engine.start()
    try:
        await engine.ready(60)
        await engine.pace(1.0)
        yield engine
    finally:
        await engine.stop()


async def warm(engine: LocalEngine, body: bytes = BODY) -> wire.Warmed:
    return await engine.warm("anthropic", body, max_tokens=LIMIT, prompt_budget_tokens=BUDGET)


async def ask_something_short(engine: LocalEngine) -> None:
    short = GenerateRequest(
        id="s", conversation=captured.conversation("py-anthropic-create-000"), max_tokens=2
    )
    events = [event async for event in engine.generate(short)]
    assert isinstance(events[-1], GenerationFinished)


async def test_a_warm_conversation_answers_at_once(engine: LocalEngine) -> None:
    """The request finds its prompt computed, but for the end that is always computed anew."""
    done = await warm(engine)
    assert done.cached_tokens == 0
    assert done.prefilled_tokens == done.input_tokens > BUDGET / 2
    assert done.kv_bytes > 1000 * done.input_tokens
    request = GenerateRequest(
        id="r",
        conversation=captured.conversation("cc329-ok"),
        max_tokens=LIMIT,
        prompt_budget_tokens=BUDGET,
    )
    async with aclosing(engine.generate(request)) as events:
        started = await anext(events)
        assert isinstance(started, GenerationStarted)
        assert started.input_tokens == done.input_tokens
        assert started.cached_tokens >= done.input_tokens - 16
    assert (await warm(engine)).prefilled_tokens <= 16


async def test_who_asks_goes_first_and_nothing_is_lost(engine: LocalEngine) -> None:
    """Requests are answered beside it, and it goes on when they are."""
    warming = asyncio.create_task(warm(engine))
    for _ in range(5):
        await ask_something_short(engine)
    done = await warming
    assert done.input_tokens > BUDGET / 2


async def test_what_was_computed_outlives_a_cancel(engine: LocalEngine) -> None:
    """Warming that is given up is gone on with by the next."""
    warming = asyncio.create_task(warm(engine))
    await ask_something_short(engine)
    # Nothing tells of the steps under way: it is done, or has had time for several of them.
    await asyncio.wait({warming}, timeout=2.0)
    warming.cancel()
    await asyncio.wait({warming})
    assert (await warm(engine)).cached_tokens > 0


async def test_no_share_no_work(engine: LocalEngine) -> None:
    """With a share of zero nothing is computed until there is one; who asks is answered."""
    await engine.pace(0.0)
    warming = asyncio.create_task(warm(engine))
    for _ in range(4):
        await ask_something_short(engine)
    assert not warming.done()
    await engine.pace(1.0)
    assert (await warming).cached_tokens == 0


async def test_a_compaction_is_not_warmed(engine: LocalEngine) -> None:
    """The worker refuses it with the reason."""
    body = json.dumps(captured.body("cctui-compact")).encode()
    with pytest.raises(EngineError, match="summary"):
        await warm(engine, body)
