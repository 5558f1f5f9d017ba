"""Ends the worker now and then, as an out-of-memory killer would."""

import asyncio
import os
import signal
from time import perf_counter
from typing import Any

from engine_peer.chat import Chat

_LOOKS_EVERY_S = 0.2
_BACK_WITHIN_S = 60.0


async def kill_every(
    chat: Chat, seconds: float, until: float, gaps: list[tuple[float, float]]
) -> None:
    """Kill the worker and wait for the next, again and again; `gaps` get the times without."""
    while perf_counter() + seconds < until:
        await asyncio.sleep(seconds)
        pid = (await worker(chat))["pid"]
        killed_at = perf_counter()
        os.kill(pid, signal.SIGKILL)
        await _another(chat, pid)
        gaps.append((killed_at, perf_counter()))


async def worker(chat: Chat) -> dict[str, Any]:
    """What the service says of its engine."""
    local: dict[str, Any] = (await chat.get("/fallback/status"))["local"]
    return local


async def _another(chat: Chat, pid: int) -> None:
    async with asyncio.timeout(_BACK_WITHIN_S):
        while True:
            found = await worker(chat)
            if found["state"] == "ready" and found["pid"] != pid:
                return
            await asyncio.sleep(_LOOKS_EVERY_S)
