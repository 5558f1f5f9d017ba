"""Those who ask, wait and leave."""

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import Protocol

import aiohttp
from engine_peer.chat import Chat, Refused
from engine_peer.reading import Answer, BadStream, Reading

from soaking.mix import HEADER, Wish
from soaking.tally import Ended, Fate

_SERVICE_UNAVAILABLE = 503
_COMES_AGAIN_AT_MOST_S = 5.0


class Told(Protocol):
    """Hears of every end."""

    def __call__(self, end: Ended, /) -> object: ...


async def client(
    chat: Chat, importance: str, wishes: Iterator[Wish], until: float, tell: Told
) -> None:
    """Asks one thing after the other until then; the last answer is waited for."""
    for wish in wishes:
        await asyncio.sleep(wish.pause_s)
        if perf_counter() >= until:
            return
        pause_s = await _one(chat, importance, wish, tell)
        await asyncio.sleep(min(pause_s, _COMES_AGAIN_AT_MOST_S))


async def _one(chat: Chat, importance: str, wish: Wish, tell: Told) -> float:
    """One request to its end; how long the client is to stay away."""
    asked_at, again_s = perf_counter(), 0.0
    fate: Fate = "answered"
    firsts: list[float] = []
    why = ""
    try:
        await _answer(chat, importance, wish, firsts)
    except Refused as refused:
        again_s = float(refused.retry_after_s or 0)
        honest = refused.status == _SERVICE_UNAVAILABLE and again_s > 0
        fate, why = ("refused" if honest else "lost"), str(refused)
    except TimeoutError:
        fate = "left" if wish.patience_s is not None else "lost"
        why = "no answer in time"
    except (BadStream, aiohttp.ClientError, OSError) as error:
        fate, why = "lost", f"{type(error).__name__}: {error}"
    tell(
        Ended(
            importance=importance,
            fate=fate,
            asked_at=asked_at,
            ended_at=perf_counter(),
            first_token_s=firsts[0] if firsts else None,
            why=why,
        )
    )
    return again_s


async def _answer(chat: Chat, importance: str, wish: Wish, firsts: list[float]) -> Answer:
    """Leaving is `TimeoutError`, as is a silence that nobody would bear."""

    def seen(reading: Reading) -> None:
        if reading.content_at and not firsts:
            firsts.append(reading.content_at[0] - reading.asked_at)

    async with asyncio.timeout(wish.patience_s):
        return await chat.ask(wish.body, headers={HEADER: importance}, seen=seen)
