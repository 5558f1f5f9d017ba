"""A client of both sides: streams answers and notes when each part came."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import aiohttp

from engine_peer.reading import Answer, BadStream, Reading

_PATIENCE_S = 900.0
_KEPT = 64


class Refused(Exception):
    """The server would not answer; says with which status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(f"status {status}: {why[:300]}")
        self.status = status


@dataclass(frozen=True, slots=True)
class Chat:
    """Chat completions of one server."""

    session: aiohttp.ClientSession
    url: str

    async def ask(
        self,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        seen: Callable[[Reading], None] = lambda reading: None,
    ) -> Answer:
        """Stream one answer. `seen` hears of the reading whenever more has come.

        Raises `Refused`, `BadStream`, `aiohttp.ClientError`, `TimeoutError`.
        """
        reading = Reading(perf_counter())
        options = {"stream": True, "stream_options": {"include_usage": True}}
        request = {"model": "gpt-bench", **body, **options}
        async with self.session.post(
            f"{self.url}/v1/chat/completions", json=request, headers=headers
        ) as response:
            if response.status != 200:
                raise Refused(response.status, await response.text())
            async for data in response.content.iter_any():
                reading.feed(data, perf_counter())
                seen(reading)
        return reading.answer(perf_counter())

    async def get(self, path: str) -> Any:
        """JSON of the server's own pages. Raises `Refused`, `aiohttp.ClientError`."""
        async with self.session.get(f"{self.url}{path}") as response:
            if response.status != 200:
                raise Refused(response.status, await response.text())
            return await response.json()


@asynccontextmanager
async def chatting(url: str) -> AsyncIterator[Chat]:
    """A client of the server at `url`."""
    patience = aiohttp.ClientTimeout(total=_PATIENCE_S, sock_connect=5.0)
    connector = aiohttp.TCPConnector(limit=_KEPT)
    async with aiohttp.ClientSession(timeout=patience, connector=connector) as session:
        yield Chat(session, url)


def question(text: str, *, max_tokens: int, **more: Any) -> dict[str, Any]:
    """The body of one user turn, answered greedily."""
    turns = [{"role": "user", "content": text}]
    return {"messages": turns, "max_tokens": max_tokens, "temperature": 0, **more}


__all__ = ["BadStream", "Chat", "Refused", "chatting", "question"]
