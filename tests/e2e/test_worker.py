"""The local engine with the real model: a real worker process, real files, real signals."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fallback.core.conversation import Conversation, Sampling, Text, Turn
from fallback.core.errors import BadRequest, EngineBusy, EngineError, EngineNotReady
from fallback.core.ports import (
    EngineEvent,
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Grammar,
    Piece,
)
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 20},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "kind": {"const": "a-rather-long-constant-that-is-forced"},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
PERSON_GRAMMAR = Grammar(lark=f"start: %json {json.dumps(PERSON)}")


def settings(model: Path, **changes: object) -> WorkerSettings:
    # Frequent heartbeats keep the gauges fresh; a busy machine may miss many of them.
    base = WorkerSettings(
        model_path=str(model), model_name="smollm2", heartbeat_s=0.05, heartbeat_misses=1000
    )
    return msgspec.structs.replace(base, **changes)


def ask(text: str, *, max_tokens: int = 24, **sampling: object) -> GenerateRequest:
    wishes = msgspec.structs.replace(Sampling(temperature=0.0), **sampling)
    return GenerateRequest(
        id=text,
        conversation=Conversation(
            model="claude", turns=(Turn("user", (Text(text),)),), sampling=wishes
        ),
        max_tokens=max_tokens,
        prompt_budget_tokens=2048,
    )


@asynccontextmanager
async def running(worker: WorkerSettings) -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(worker, environment=os.environ)
    engine.start()
    try:
        yield engine
    finally:
        await engine.stop()


@pytest.fixture
async def engine(model_path: Path, tmp_path: Path) -> AsyncIterator[LocalEngine]:
    async with running(settings(model_path, cache_dir=str(tmp_path))) as engine:
        await engine.ready(60)
        yield engine


async def collect(engine: LocalEngine, request: GenerateRequest) -> list[EngineEvent]:
    return [event async for event in engine.generate(request)]


def text_of(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Piece))


def end_of(events: list[EngineEvent]) -> GenerationFinished:
    end = events[-1]
    assert isinstance(end, GenerationFinished)
    return end


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def until_idle(engine: LocalEngine) -> None:
    """Heartbeats bring the gauges; there is nothing else to wait for."""
    async with asyncio.timeout(60):
        while engine.status().active + engine.status().queued:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_answer(engine: LocalEngine, model_path: Path) -> None:
    """A question is answered by the model, piece by piece, with true counts and a true name."""
    model = await engine.ready(0)
    events = await collect(engine, ask("What is the capital of France?", max_tokens=64))
    started, end = events[0], end_of(events)
    assert isinstance(started, GenerationStarted)
    assert text_of(events).strip()
    assert started.input_tokens == end.input_tokens == 37
    assert len(events) > 4
    assert 0 < end.output_tokens <= 64
    assert (model.quantization, model.context_tokens) == ("Q4_1", 4096)
    assert model.sha256 == sha256_of(model_path)


async def test_greedy_is_repeatable(engine: LocalEngine) -> None:
    """At temperature 0, or with a seed, the same question has the same answer."""
    for request in (ask("Name a colour."), ask("Name a colour.", temperature=1.0, seed=7)):
        first, second = await collect(engine, request), await collect(engine, request)
        assert text_of(first) == text_of(second)


async def test_client_limit(engine: LocalEngine) -> None:
    """The client's limit is kept to the token, and said to be the reason."""
    end = end_of(await collect(engine, ask("Tell me a long story.", max_tokens=99)))
    assert end.output_tokens <= 99
    end = end_of(await collect(engine, ask("Tell me a long story.", max_tokens=7)))
    assert (end.reason, end.output_tokens) == ("max_tokens", 7)


async def test_stop_sequence(engine: LocalEngine) -> None:
    """A stop sequence ends the answer before it, and is named."""
    question = "What is the capital of France?"
    whole = text_of(await collect(engine, ask(question, max_tokens=64)))
    stop = whole[12:16]
    events = await collect(engine, ask(question, max_tokens=64, stop=(stop,)))
    assert text_of(events) == whole[: whole.index(stop)]
    assert (end_of(events).reason, end_of(events).stop_sequence) == ("stop_sequence", stop)


async def test_four_at_once(engine: LocalEngine) -> None:
    """Four answers grow together: each has begun before the first has ended."""
    order: list[EngineEvent] = []

    async def answer(n: int) -> None:
        async for event in engine.generate(ask(f"Tell me about the number {n}.")):
            order.append(event)  # noqa: PERF401 - the order over all four is what counts

    await asyncio.gather(*(answer(n) for n in range(4)))
    ends = [n for n, event in enumerate(order) if isinstance(event, GenerationFinished)]
    begun = [event for event in order[: ends[0]] if isinstance(event, GenerationStarted)]
    assert (len(begun), len(ends)) == (4, 4)


async def test_answers_do_not_mix(engine: LocalEngine) -> None:
    """Who is answered beside it gives an answer none of its letters."""
    alphabets = ("abcdefghijklm", "nopqrstuvwxyz", "0123456789", "ABCDEFGHIJKLM")
    requests = [
        msgspec.structs.replace(
            ask("Say something.", temperature=1.0, seed=number),
            grammar=Grammar(lark=f"start: /[{letters}]{{20,30}}/"),
        )
        for number, letters in enumerate(alphabets)
    ]
    answers = await asyncio.gather(*(collect(engine, request) for request in requests))
    for letters, answer in zip(alphabets, answers, strict=True):
        assert 20 <= len(text_of(answer)) <= 30
        assert set(text_of(answer)) <= set(letters)


async def test_json_schema(engine: LocalEngine) -> None:
    """Under a JSON schema every answer is valid JSON that conforms, even at high temperature."""
    for seed in range(3):
        request = ask("Describe a person as JSON.", max_tokens=96, temperature=1.5, seed=seed)
        request = msgspec.structs.replace(request, grammar=PERSON_GRAMMAR)
        events = await collect(engine, request)
        person = json.loads(text_of(events))
        assert end_of(events).reason == "end"
        assert person.keys() == {"name", "age", "kind"}
        assert len(person["name"]) <= 20
        assert 0 <= person["age"] <= 120
        assert person["kind"] == PERSON["properties"]["kind"]["const"]  # type: ignore[index]


async def test_grammar_goes_on_after_a_prefix(engine: LocalEngine) -> None:
    """A grammar counts the prefix as written, from where it starts to: from there on, prefix
    and answer together conform."""
    prefix = 'Gladly: {"name":"Ada","age":3'
    request = msgspec.structs.replace(
        ask("Describe a person.", max_tokens=64),
        grammar=PERSON_GRAMMAR,
        prefix=prefix,
        grammar_start=len("Gladly: "),
    )
    events = await collect(engine, request)
    assert json.loads((prefix + text_of(events))[len("Gladly: ") :])["name"] == "Ada"


async def test_a_prefix_against_the_grammar(engine: LocalEngine) -> None:
    """What the grammar does not admit is refused before the answer starts."""
    request = msgspec.structs.replace(
        ask("Describe a person."), grammar=PERSON_GRAMMAR, prefix='{"years":'
    )
    with pytest.raises(EngineError, match="does not follow the output grammar"):
        await anext(engine.generate(request))


async def test_wholly_forced(engine: LocalEngine) -> None:
    """A grammar that leaves no choice is answered without asking the model."""
    request = msgspec.structs.replace(ask("Say it."), grammar=Grammar(lark='start: "Yes."'))
    events = await collect(engine, request)
    assert (text_of(events), end_of(events).reason) == ("Yes.", "end")


async def test_unusable_grammar(engine: LocalEngine) -> None:
    """A grammar that cannot be compiled is the request's fault and stops nobody else."""
    request = msgspec.structs.replace(ask("Say it."), grammar=Grammar(lark="start: %%%"))
    with pytest.raises(BadRequest, match="grammar"):
        await collect(engine, request)
    assert text_of(await collect(engine, ask("Hello.", max_tokens=3)))


async def test_prefix(engine: LocalEngine) -> None:
    """The answer goes on after the prefix as if it had never been interrupted."""
    request = ask("What is the capital of France?", max_tokens=64)
    whole = await collect(engine, request)
    prefix = text_of(whole[:9])
    rest = await collect(engine, msgspec.structs.replace(request, prefix=prefix))
    # Further on, a token may fall differently: read at once, numbers round otherwise.
    assert text_of(rest)[:3] == text_of(whole)[len(prefix) :][:3]


async def test_whole_characters(engine: LocalEngine) -> None:
    """Characters of several tokens arrive whole."""
    events = await collect(
        engine,
        msgspec.structs.replace(
            ask("Say it."), grammar=Grammar(lark='start: "größer 😀🧑‍🚀 終わり"')
        ),
    )
    assert text_of(events) == "größer 😀🧑‍🚀 終わり"
    assert "\N{REPLACEMENT CHARACTER}" not in text_of(events)


async def test_large_conversation_is_cut(engine: LocalEngine) -> None:
    """What is far over the budget is cut to it, and the cut is said."""
    turns = tuple(
        Turn("user" if n % 2 == 0 else "assistant", (Text(f"Turn {n}. " + "word " * 60),))
        for n in range(61)
    )
    request = ask("x", max_tokens=4)
    request = msgspec.structs.replace(
        request,
        conversation=Conversation(model="claude", turns=turns),
        prompt_budget_tokens=400,
    )
    events = await collect(engine, request)
    started = events[0]
    assert isinstance(started, GenerationStarted)
    assert started.input_tokens <= 400
    assert any(cut.what == "turns" for cut in started.cuts)
    assert await engine.count(request.conversation) > 3000


async def test_kill_in_mid_answer(engine: LocalEngine) -> None:
    """kill -9 of the worker in mid-answer: the consumer sees one whole answer."""
    request = ask("What is the capital of France?", max_tokens=64)
    undisturbed = text_of(await collect(engine, request))
    at_the_kill = ""
    events: list[EngineEvent] = []
    async for event in engine.generate(request):
        events.append(event)
        if len(events) == 4:
            pid = engine.status().pid
            assert pid is not None
            at_the_kill = text_of(events)
            os.kill(pid, signal.SIGKILL)
    assert [type(e) for e in events].count(GenerationStarted) == 1
    assert [type(e) for e in events].count(GenerationFinished) == 1
    assert undisturbed.startswith(at_the_kill)
    assert text_of(events).startswith(at_the_kill)
    assert len(text_of(events)) > len(at_the_kill)
    assert engine.status().restarts == 1


async def test_cancel_frees_the_slot(model_path: Path, tmp_path: Path) -> None:
    """An answer nobody wants any more gives its slot to the next at once."""
    worker = settings(model_path, cache_dir=str(tmp_path), slots=1, queue_limit=1)
    async with running(worker) as engine:
        async with aclosing(engine.generate(ask("Count to a thousand.", max_tokens=2000))) as one:
            await anext(one)
            await anext(one)
        events = await collect(engine, ask("Hello.", max_tokens=2))
        assert end_of(events).output_tokens == 2
        await until_idle(engine)


async def test_queue_is_bounded(model_path: Path, tmp_path: Path) -> None:
    """One request over slots and queue is refused as busy; the others are answered."""
    worker = settings(model_path, cache_dir=str(tmp_path), slots=1, queue_limit=1)
    async with running(worker) as engine:
        await engine.ready(60)
        answers = await asyncio.gather(
            *(collect(engine, ask(f"Say {n}.", max_tokens=8)) for n in range(3)),
            return_exceptions=True,
        )
        assert [type(answer) for answer in answers].count(EngineBusy) == 1
        await until_idle(engine)


async def test_small_context_is_shared(model_path: Path, tmp_path: Path) -> None:
    """More requests than the context holds at once take turns; none fails."""
    worker = settings(model_path, cache_dir=str(tmp_path), context_tokens=128)
    async with running(worker) as engine:
        answers = await asyncio.gather(
            *(collect(engine, ask(f"Say {n}.", max_tokens=16)) for n in range(5))
        )
        assert all(0 < end_of(answer).output_tokens <= 16 for answer in answers)


async def test_no_room_left(model_path: Path, tmp_path: Path) -> None:
    """A prefix that fills the context is an error that says so, not a crash."""
    worker = settings(model_path, cache_dir=str(tmp_path), context_tokens=256)
    async with running(worker) as engine:
        request = msgspec.structs.replace(ask("Go on."), prefix="word " * 300)
        with pytest.raises(EngineError, match="128"):
            await collect(engine, request)
        assert engine.status().restarts == 0


@pytest.mark.usefixtures("engine")
async def test_warm_start_remembers(model_path: Path, tmp_path: Path) -> None:
    """What was verified once is remembered, so that the next start need not read it all."""
    known = json.loads((tmp_path / "verified-models.json").read_bytes())
    assert list(known) == [str(model_path)]


@pytest.mark.parametrize(
    ("harm", "sha256", "words"),
    [
        ("missing", None, "does not exist; run `fallback models pull`"),
        ("html", None, "is not a GGUF file"),
        ("truncated", None, "llama.cpp cannot load the model file"),
        ("wrong-hash", "0" * 64, "is corrupt, cut short or another model"),
    ],
)
async def test_bad_model_file(
    model_path: Path, tmp_path: Path, harm: str, sha256: str | None, words: str
) -> None:
    """A bad model file is told by name, with reason and remedy; this process lives."""
    bad = tmp_path / "bad.gguf"
    harm_file(harm, model_path, bad)
    async with running(settings(bad, model_sha256=sha256)) as engine:
        with pytest.raises(EngineNotReady) as failed:
            await engine.ready(60)
        assert words in failed.value.message
        assert str(bad) in failed.value.message
        assert engine.status().state == "failed"


def harm_file(harm: str, good: Path, bad: Path) -> None:
    if harm == "html":
        bad.write_text("<html>log in to the network</html>")
    elif harm == "truncated":
        with good.open("rb") as file:
            bad.write_bytes(file.read(3_000_000))
    elif harm == "wrong-hash":
        bad.symlink_to(good)


async def test_repaired_model_file(model_path: Path, tmp_path: Path) -> None:
    """A model file that is put right is loaded without a restart of the service."""
    path = tmp_path / "model.gguf"
    async with running(settings(path)) as engine:
        with pytest.raises(EngineNotReady):
            await engine.ready(60)
        shutil.copy(model_path, tmp_path / "incoming")
        (tmp_path / "incoming").rename(path)
        while engine.status().state == "failed":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert (await engine.ready(60)).quantization == "Q4_1"
