"""The client: as little work per answer as checking that it is a good one allows.

A connection asks again as soon as its answer is complete (a closed loop), or follows one paced
stream. Whatever is not a whole, good answer with status 200 ends the load with `BadAnswer`: what
wrong answers cost is not worth knowing.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import cast

import httptools

from healthy_path.payloads import MARK, PACED_EVENTS_PER_S

_GRACE_S = 60.0  # for answers that are still under way when the time is over


class BadAnswer(Exception):
    """What came is not the answer the mock upstream gave; says what it was."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Where to send which bytes, and how many marks a good answer has."""

    port: int
    wire: bytes
    marks: int


@dataclass(slots=True)
class Load:
    """What a closed loop saw: the latency of each answer, and how long all of it took."""

    latencies_s: list[float] = field(default_factory=list)
    wall_s: float = 0.0


class _Client(asyncio.Protocol, ABC):
    """One connection. The first failure of any client is the outcome of `finished`."""

    def __init__(self, ask: Ask, finished: asyncio.Future[None]) -> None:
        self._ask = ask
        self._finished = finished
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by class
        self.send()

    def send(self) -> None:
        assert self._transport
        self._transport.write(self._ask.wire)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(f"not HTTP: {error!r} in {data[:200]!r}")

    @abstractmethod
    def on_body(self, part: bytes) -> None:
        """A part of the answer has come."""

    @abstractmethod
    def on_message_complete(self) -> None:
        """The answer is complete."""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._closed:
            self.fail(f"connection closed in the middle of an answer ({exc!r})")

    def fail(self, why: str) -> None:
        if not self._finished.done():
            self._finished.set_exception(BadAnswer(why))
        self.close()

    def close(self) -> None:
        self._closed = True
        if self._transport:
            self._transport.abort()


@dataclass(slots=True)
class _Budget:
    """When to stop asking, shared by all connections of a closed loop."""

    until: float
    requests: int
    clients: int


class _LoopingClient(_Client):
    def __init__(
        self, ask: Ask, finished: asyncio.Future[None], budget: _Budget, latencies_s: list[float]
    ) -> None:
        super().__init__(ask, finished)
        self._budget = budget
        self._latencies_s = latencies_s
        self._asked_at = 0.0
        self._body: list[bytes] = []

    def send(self) -> None:
        self._asked_at = perf_counter()
        if self._budget.requests and self._asked_at < self._budget.until:
            self._budget.requests -= 1
            self._body = []
            super().send()
        else:
            self._leave()

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        took_s = perf_counter() - self._asked_at
        body, status = b"".join(self._body), self._parser.get_status_code()
        if status != 200 or body.count(MARK) != self._ask.marks:
            self.fail(f"status {status}, {body.count(MARK)} marks in {body[:300]!r}")
            return
        self._latencies_s.append(took_s)
        self.send()

    def _leave(self) -> None:
        self.close()
        self._budget.clients -= 1
        if not self._budget.clients and not self._finished.done():
            self._finished.set_result(None)


async def closed_loop(ask: Ask, *, connections: int, seconds: float, most: int = 10**9) -> Load:
    """Asks on so many connections until the time or the count (`most`) is used up.

    Every request sent is answered before this returns. Raises `BadAnswer`; `OSError` where nobody
    listens; `TimeoutError` where answers stay away.
    """
    load, started_at = Load(), perf_counter()
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    budget = _Budget(until=started_at + seconds, requests=most, clients=connections)
    clients = [_LoopingClient(ask, finished, budget, load.latencies_s) for _ in range(connections)]
    async with _connected(clients, ask.port, seconds):
        await finished
    load.wall_s = perf_counter() - started_at
    return load


class _StreamClient(_Client):
    """Follows a stream that is longer than anybody looks at it."""

    def __init__(self, ask: Ask, finished: asyncio.Future[None]) -> None:
        super().__init__(ask, finished)
        self.events = 0

    def on_body(self, part: bytes) -> None:
        self.events += part.count(MARK)

    def on_message_complete(self) -> None:
        self.fail(f"the stream ended (status {self._parser.get_status_code()})")


@dataclass(frozen=True, slots=True)
class PacedStreams:
    """Streams that are running; `events` counts up while they do."""

    clients: Sequence[_StreamClient]
    finished: asyncio.Future[None]

    @property
    def events(self) -> int:
        return sum(client.events for client in self.clients)

    async def follow(self, seconds: float) -> None:
        """Lets the events come for a while; raises `BadAnswer` as soon as one stream breaks."""
        await asyncio.wait([self.finished], timeout=seconds)
        if self.finished.done():
            self.finished.result()


@asynccontextmanager
async def paced_streams(ask: Ask, streams: int) -> AsyncIterator[PacedStreams]:
    """Streams whose events are spread evenly over the period, each one having begun."""
    finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    clients = [_StreamClient(ask, finished) for _ in range(streams)]
    running = PacedStreams(clients, finished)
    async with _connected(clients, ask.port, _GRACE_S, 1 / PACED_EVENTS_PER_S / streams):
        while not all(client.events for client in clients):
            await running.follow(1 / PACED_EVENTS_PER_S)
        yield running


@asynccontextmanager
async def _connected(
    clients: Sequence[_Client], port: int, seconds: float, apart_s: float = 0.0
) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(seconds + _GRACE_S):
            for client in clients:
                await _connect(client, port)
                await asyncio.sleep(apart_s)
            yield
    finally:
        for client in clients:
            client.close()


async def _connect(client: _Client, port: int) -> None:
    await asyncio.get_running_loop().create_connection(lambda: client, "127.0.0.1", port)
