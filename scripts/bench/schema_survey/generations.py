"""Answers of the real model under schemas, through the whole engine, and whether they are valid."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fallback.core.conversation import Conversation, OutputFormat, Sampling, Text, Turn
from fallback.core.errors import FallbackError
from fallback.core.grammar import grammar_for
from fallback.core.ports import GenerateRequest, GenerationFinished, Piece
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings
from schema_survey.corpus import Entry
from schema_survey.walks import Judge

_READY_S = 120
_TOLD_CHARS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """`outcome`: valid, invalid, cut off (at the limit of tokens) or failed. Times in seconds."""

    name: str
    outcome: str
    detail: str = ""
    output_tokens: int = 0
    took_s: float = 0.0


async def generations(
    model: Path, entries: Sequence[Entry], *, max_tokens: int, slots: int
) -> list[Generation]:
    """One answer under each schema, `slots` at a time."""
    turns = asyncio.Semaphore(slots)
    settings = WorkerSettings(model_path=str(model), model_name=model.stem, slots=slots)
    async with _running(settings) as engine:
        asked = (_turn(engine, entry, max_tokens, turns) for entry in entries)
        return list(await asyncio.gather(*asked))


@asynccontextmanager
async def _running(settings: WorkerSettings) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(settings, environment=os.environ)
    engine.start()
    try:
        await engine.ready(_READY_S)
        yield engine
    finally:
        await engine.stop()


async def _turn(
    engine: LocalEngine, entry: Entry, max_tokens: int, turns: asyncio.Semaphore
) -> Generation:
    async with turns:
        began = time.perf_counter()
        try:
            text, end = await _answer(engine, _request(entry, max_tokens))
        except FallbackError as error:
            return Generation(name=entry.name, outcome="failed", detail=error.message)
        took_s = time.perf_counter() - began
    outcome, detail = _judged(entry, text, end)
    return Generation(
        name=entry.name,
        outcome=outcome,
        detail=detail,
        output_tokens=end.output_tokens,
        took_s=took_s,
    )


async def _answer(engine: LocalEngine, request: GenerateRequest) -> tuple[str, GenerationFinished]:
    text, end = "", None
    async with aclosing(engine.generate(request)) as events:
        async for event in events:
            if isinstance(event, Piece):
                text += event.text
            elif isinstance(event, GenerationFinished):
                end = event
    assert end is not None
    return text, end


def _request(entry: Entry, max_tokens: int) -> GenerateRequest:
    told = json.dumps(entry.schema)[:_TOLD_CHARS]
    question = f"Write a short, realistic example as JSON for this schema:\n{told}"
    conversation = Conversation(
        model="local",
        turns=(Turn("user", (Text(question),)),),
        output_format=OutputFormat(kind="json_schema", schema=entry.schema, strict=True),
        sampling=Sampling(temperature=0.7, seed=1),
    )
    return GenerateRequest(
        id=entry.name,
        conversation=conversation,
        max_tokens=max_tokens,
        grammar=grammar_for(conversation),
    )


def _judged(entry: Entry, text: str, end: GenerationFinished) -> tuple[str, str]:
    if end.reason != "end":
        return "cut off", ""
    try:
        complaint = Judge(entry.schema).complaint(json.loads(text))
    except ValueError as error:
        complaint = f"no JSON: {error}"
    return ("invalid", f"{complaint} in {text[:200]}") if complaint else ("valid", "")
