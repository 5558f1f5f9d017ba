from __future__ import annotations

import asyncio
from contextlib import aclosing

import pytest

from fallback.core.conversation import Conversation
from fallback.core.errors import EngineError, EngineNotReady
from fallback.core.ports import (
    Engine,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Piece,
)
from fallback.local.mock import Fail, Say, Script, ScriptedEngine, Wait

REQUEST = GenerateRequest(
    id="r", conversation=Conversation(model="m"), max_tokens=9, prompt_budget_tokens=9
)


async def test_plays_its_scripts_in_turn() -> None:
    """Each request gets the next script, the last one over and over."""
    engine: Engine = ScriptedEngine(Script(acts=(Say("a"),)), Script(acts=(Say("b"),)))
    texts = [[event async for event in engine.generate(REQUEST)][1] for _ in range(3)]
    assert texts == [Piece("a"), Piece("b"), Piece("b")]


async def test_a_whole_answer() -> None:
    """An answer has a start, its pieces and an end that counts them."""
    engine = ScriptedEngine()
    assert [event async for event in engine.generate(REQUEST)] == [
        GenerationStarted(input_tokens=7),
        Piece("Hello"),
        Piece(" there."),
        GenerationFinished(reason="end", input_tokens=7, output_tokens=2),
    ]
    assert engine.closed == ["r"]


async def test_waits_and_fails() -> None:
    """A script may wait for an event of the test's, and fail where it says."""
    go = asyncio.Event()
    engine = ScriptedEngine(
        Script(acts=(Wait(go.wait), Say("a"), Fail(EngineError("broken"))), early=True)
    )
    async with aclosing(engine.generate(REQUEST)) as events:
        first = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        assert not first.done()
        go.set()
        assert isinstance(await first, GenerationStarted)
        assert await anext(events) == Piece("a")
        with pytest.raises(EngineError, match="broken"):
            await anext(events)


async def test_without_a_model() -> None:
    """An engine without a model says so to whoever asks."""
    engine = ScriptedEngine(not_ready="no file")
    assert engine.status().state == "failed"
    with pytest.raises(EngineNotReady, match="no file"):
        await engine.count(Conversation(model="m"))
