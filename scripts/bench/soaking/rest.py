"""The engine alone: the waits to compare with, and whether everything is free again."""

import asyncio
from random import Random

from engine_peer.chat import Chat, question
from engine_peer.prompts import story

from soaking.killer import worker
from soaking.mix import CRITICAL, HEADER, critical
from soaking.tally import Rest

_ASKS, _LONG_ASKS = 12, 3
_BATCH_TOKENS, _LONG_TOKENS = 512, 2048  # `WorkerSettings.batch_tokens`: computed at once
_IDLE_WITHIN_S, _LOOKS_EVERY_S = 60.0, 0.5


async def at_rest(chat: Chat, seed: int) -> Rest:
    """Critical requests one after the other, and how long a step takes in the reading of a long
    prompt, which is the longest thing the engine does at once."""
    rolls = Random(seed)
    headers = {HEADER: CRITICAL}
    answers = [
        await chat.ask(critical(number, rolls).body, headers=headers) for number in range(_ASKS)
    ]
    steps_s = []
    for _ in range(_LONG_ASKS):
        text = story(_LONG_TOKENS, rolls.randrange(10**9))
        long = await chat.ask(question(text, max_tokens=1), headers=headers)
        steps_s.append(long.first_token_s * _BATCH_TOKENS / max(_BATCH_TOKENS, long.prompt_tokens))
    return Rest(waits_s=[each.first_token_s for each in answers], step_s=max(steps_s))


async def leaks(chat: Chat, slots: int, seed: int) -> list[str]:
    """What is still held though nobody wants anything, in words."""
    try:
        async with asyncio.timeout(_IDLE_WITHIN_S):
            while (now := await worker(chat))["active"] or now["queued"]:  # noqa: ASYNC110
                await asyncio.sleep(_LOOKS_EVERY_S)
    except TimeoutError:
        return [f"{now['active']} active and {now['queued']} queued after {_IDLE_WITHIN_S:g} s"]
    return await _unusable(chat, slots, seed)


async def _unusable(chat: Chat, slots: int, seed: int) -> list[str]:
    """Whether all slots still answer at the same time."""
    asks = (question(story(40, seed + each), max_tokens=64) for each in range(slots))
    answers = await asyncio.gather(*(chat.ask(each) for each in asks))
    began = max(each.content_at[0] for each in answers)
    ended = min(each.content_at[-1] for each in answers)
    return [] if began < ended else [f"not {slots} at once any more"]
