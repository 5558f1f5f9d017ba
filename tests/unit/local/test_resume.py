from __future__ import annotations

import pytest

from fallback.core.conversation import Conversation, Sampling
from fallback.core.errors import EngineError
from fallback.core.ports import (
    GenerateRequest,
    GenerationFinished,
    GenerationStarted,
    Piece,
)
from fallback.local import wire
from fallback.local.resume import MOST_LOSSES, Resume


def request(client_max: int | None = None, prefix: str = "") -> GenerateRequest:
    return GenerateRequest(
        id="r",
        conversation=Conversation(model="m", sampling=Sampling(max_tokens=client_max)),
        max_tokens=100,
        prompt_budget_tokens=1000,
        prefix=prefix,
    )


def started(tokens: int = 10) -> wire.Started:
    return wire.Started(id=1, input_tokens=tokens)


def piece(text: str, tokens: int) -> wire.Piece:
    return wire.Piece(id=1, text=text, output_tokens=tokens)


def finished(tokens: int) -> wire.Finished:
    return wire.Finished(id=1, reason="end", input_tokens=12, output_tokens=tokens)


def test_unbroken() -> None:
    """While nothing breaks, the request is the client's own and every reply is an event."""
    resume = Resume(request())
    assert resume.request() == request()
    assert [resume.take(r) for r in (started(), piece("Hi", 1), finished(1))] == [
        GenerationStarted(input_tokens=10),
        Piece("Hi"),
        GenerationFinished(reason="end", input_tokens=10, output_tokens=1),
    ]


def test_cached() -> None:
    """What need not be computed is told at the start and at the end, as the first worker had it."""
    resume = Resume(request())
    first = wire.Started(id=1, input_tokens=10, cached_tokens=8)
    assert resume.take(first) == GenerationStarted(input_tokens=10, cached_tokens=8)
    resume.lose("killed")
    resume.take(started())
    end = resume.take(finished(1))
    assert isinstance(end, GenerationFinished)
    assert end.cached_tokens == 8


def test_resumed() -> None:
    """The next worker goes on after prefix and text, for the tokens left, under one start."""
    resume = Resume(request(client_max=50, prefix="A"))
    for reply in (started(), piece(" b", 3), piece(" c", 5)):
        resume.take(reply)
    assert resume.lose("killed") is None
    again = resume.request()
    assert (again.prefix, again.max_tokens, again.conversation.sampling.max_tokens) == (
        "A b c",
        95,
        45,
    )
    assert resume.take(started(11)) is None
    assert resume.take(finished(4)) == GenerationFinished(
        reason="end", input_tokens=10, output_tokens=9
    )


def test_lost_before_the_start() -> None:
    """A worker lost before its first word costs nothing: the start is the next one's."""
    resume = Resume(request())
    resume.lose("killed")
    assert resume.request() == request()
    assert resume.take(started(11)) == GenerationStarted(input_tokens=11)


def test_nothing_left() -> None:
    """A worker lost when all tokens were out has ended the answer."""
    resume = Resume(request(client_max=5))
    resume.take(started())
    resume.take(piece("all of it", 5))
    assert resume.lose("killed") == GenerationFinished(
        reason="max_tokens", input_tokens=10, output_tokens=5
    )


def test_too_often() -> None:
    """The third worker that dies of it is an error that says why."""
    resume = Resume(request())
    for why in ("one", "two"):
        resume.take(started())
        resume.take(piece("a", 1))
        resume.lose(why)
    resume.take(started())
    with pytest.raises(EngineError, match="failed 3 times at this request: three"):
        resume.lose("three")
    assert repr(resume) == "<Resume r losses=3 tokens=2>"


def test_who_waits_or_gets_on_is_not_blamed() -> None:
    """Workers may die as often as they like while a request waits, or gives tokens in each life;
    but not for ever."""
    resume = Resume(request())
    for life in range(MOST_LOSSES):
        if life % 2:
            resume.take(started())
            resume.take(piece("abcd", 4))
        assert resume.lose("killed") is None
    with pytest.raises(EngineError, match=f"failed {MOST_LOSSES + 1} times"):
        resume.lose("killed")
