"""A client of both sides: streams answers and notes when each part came."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import aiohttp

from engine_peer.reading import Answer, ChatReading, MessagesReading, Reading

_PATIENCE_S = 900.0
_MOST = 64
_NOBODY: Callable[[Reading], None] = lambda reading: None  # noqa: E731


class Refused(Exception):
    """The server would not answer; says with which status and why."""

    def __init__(self, status: int, why: str, retry_after_s: str | None = None) -> None:
        super().__init__(f"status {status}: {why[:300]}")
        self.status = status
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Chat:
    """What one server is asked. All may raise `Refused`, `BadStream`, `aiohttp.ClientError`,
    `TimeoutError`. `seen` hears of a reading whenever more has come."""

    session: aiohttp.ClientSession
    url: str

    async def ask(
        self,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str] | None = None,
        seen: Callable[[Reading], None] = _NOBODY,
    ) -> Answer:
        """Stream one chat completion."""
        options = {"stream": True, "stream_options": {"include_usage": True}}
        request = {"model": "gpt-bench", **body, **options}
        reading = ChatReading(perf_counter())
        return await self._read("/v1/chat/completions", request, headers, reading, seen)

    async def message(
        self, body: Mapping[str, Any], *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Stream one answer of the Messages API."""
        reading = MessagesReading(perf_counter())
        return await self._read("/v1/messages?beta=true", body, headers, reading, _NOBODY)

    async def get(self, path: str) -> Any:
        """JSON of the server's own pages."""
        async with self.session.get(f"{self.url}{path}") as response:
            if response.status != 200:
                raise Refused(response.status, await response.text())
            return await response.json()

    async def _read(
        self,
        path: str,
        body: Mapping[str, Any],
        headers: Mapping[str, str] | None,
        reading: Reading,
        seen: Callable[[Reading], None],
    ) -> Answer:
        async with self.session.post(f"{self.url}{path}", json=body, headers=headers) as response:
            if response.status != 200:
                told = response.headers.get("retry-after")
                raise Refused(response.status, await response.text(), told)
            async for data in response.content.iter_any():
                reading.feed(data, perf_counter())
                seen(reading)
        return reading.answer(perf_counter())


@asynccontextmanager
async def chatting(url: str) -> AsyncIterator[Chat]:
    """A client of the server at `url`."""
    patience = aiohttp.ClientTimeout(total=_PATIENCE_S, sock_connect=5.0)
    # A connection for each request: llama-server gives up idle ones after seconds, and a request
    # that meets that moment is lost.
    connector = aiohttp.TCPConnector(limit=_MOST, force_close=True)
    async with aiohttp.ClientSession(timeout=patience, connector=connector) as session:
        yield Chat(session, url)


def question(text: str, *, max_tokens: int, **more: Any) -> dict[str, Any]:
    """The body of one user turn, answered greedily."""
    turns = [{"role": "user", "content": text}]
    return {"messages": turns, "max_tokens": max_tokens, "temperature": 0, **more}
