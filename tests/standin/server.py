"""The server: real sockets, in a thread of the test process or as a process of its own."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import httptools

from standin import cloud
from standin.exchange import Exchange
from standin.faults import Fault
from standin.wire import Request

T = TypeVar("T")

HOST = "127.0.0.1"
PATIENCE_S = 30.0


def free_port() -> int:
    """A free port below the ephemeral range.

    Nobody's outgoing connection takes it while the stand-in is away, and a connection to it
    cannot meet itself.
    """
    for port in random.sample(range(20000, 32000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise RuntimeError("no free port on loopback")


@dataclass(eq=False)
class _Rule:
    fault: Fault
    path: str | None
    times: int | None

    def applies(self, request: Request) -> bool:
        return self.path in (None, request.path) and self.times != 0

    def spend(self) -> None:
        if self.times is not None:
            self.times -= 1


class StandIn:
    """Both clouds on one loopback port, in a thread; a context manager.

    All methods are for other threads. `kill` and `revive` do what the death of the process
    does: the listener and all connections are gone; then it listens on the same port again.
    """

    def __init__(self, port: int | None = None) -> None:
        self.port = port or free_port()
        self.changed = threading.Condition()
        self.requests: list[Request] = []
        self._rules: list[_Rule] = []
        self._connections: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._release = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __repr__(self) -> str:
        state = "listening" if self._server else "down"
        return f"<StandIn {self.url} {state}, {len(self.requests)} requests>"

    def __enter__(self) -> Self:
        self._thread.start()
        self.revive()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._call(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    @property
    def url(self) -> str:
        """The base URL, without `/v1`."""
        return f"http://{HOST}:{self.port}"

    def revive(self) -> None:
        """Listen (again)."""
        self._call(self._listen())

    def kill(self) -> None:
        """Refuse connections and drop those that are open."""
        self._call(self._stop_listening())

    def script(self, fault: Fault, path: str | None = None, times: int | None = None) -> None:
        """From now on fail so, on this raw path (or all), this many times (or always)."""
        with self.changed:
            self._rules.append(_Rule(fault, path, times))

    def heal(self) -> None:
        """Forget all faults and release what they hold."""
        with self.changed:
            self._rules.clear()
        self.release()

    def release(self) -> None:
        """Let go on whatever is held now."""
        self._loop.call_soon_threadsafe(self._let_go)

    @contextmanager
    def failing(self, fault: Fault, path: str | None = None) -> Iterator[None]:
        """Fail so inside the block."""
        self.script(fault, path)
        try:
            yield
        finally:
            self.heal()

    def forget(self) -> None:
        """Forget the recorded requests."""
        with self.changed:
            self.requests.clear()

    def received(self, path: str) -> list[Request]:
        """The requests for this raw path so far."""
        with self.changed:
            return [request for request in self.requests if request.path == path]

    def await_request(self, path: str, count: int = 1) -> Request:
        """The `count`-th request for this raw path, once it has come."""

        def come() -> bool:
            return len(self.received(path)) >= count

        with self.changed:
            if not self.changed.wait_for(come, PATIENCE_S):
                raise AssertionError(f"no request {count} for {path}: {self.requests}")
        return self.received(path)[count - 1]

    def _call(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._connected, HOST, self.port, backlog=1024)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._connections:
            writer.transport.abort()

    async def _stop(self) -> None:
        await self._stop_listening()
        here = asyncio.current_task()
        others = [task for task in asyncio.all_tasks() if task is not here]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        try:
            await _Connection(reader, writer, self._record, self._perform).run()
        finally:
            self._connections.discard(writer)
            writer.close()

    def _record(self, request: Request) -> None:
        with self.changed:
            self.requests.append(request)
            self.changed.notify_all()

    def _fault(self, request: Request) -> Fault | None:
        with self.changed:
            rule = next((rule for rule in self._rules if rule.applies(request)), None)
            if rule is not None:
                rule.spend()
        return rule.fault if rule else None

    def _let_go(self) -> None:
        self._release.set()
        self._release = asyncio.Event()

    async def _perform(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        exchange = Exchange(request, cloud.answer(request), writer, self._release)
        fault = self._fault(request)
        await (fault(exchange) if fault else exchange.respond(exchange.answer))
        request.done.set()
        return exchange.keep_alive


class _Connection:
    """One connection: a reading task that never stops, so that a client's leaving is seen."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        record: Callable[[Request], None],
        perform: Callable[[Request, asyncio.StreamWriter], Coroutine[Any, Any, bool]],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._record = record
        self._perform = perform
        self._waiting: asyncio.Queue[Request] = asyncio.Queue()
        self._current: Request | None = None

    async def run(self) -> None:
        """Until either side closes."""
        serving = asyncio.ensure_future(self._serve())
        try:
            await self._read()
        finally:
            if self._current is not None and not self._current.done.is_set():
                self._current.left.set()
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)

    def _arrived(self, request: Request) -> None:
        self._record(request)
        self._waiting.put_nowait(request)

    async def _read(self) -> None:
        collector = _Collector(self._arrived)
        with suppress(ConnectionError):
            while data := await self._reader.read(65536):
                try:
                    collector.feed(data)
                except httptools.HttpParserUpgrade:
                    continue  # the answer refuses it and closes
                except httptools.HttpParserError:
                    return

    async def _serve(self) -> None:
        with suppress(ConnectionError):
            while True:
                self._current = await self._waiting.get()
                if not await self._perform(self._current, self._writer):
                    self._writer.close()
                    return


class _Collector:
    """Turns the parser's callbacks into requests."""

    def __init__(self, arrived: Callable[[Request], None]) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._arrived = arrived

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        method = self._parser.get_method().decode()
        self._arrived(Request(method, self._target, tuple(self._headers), bytes(self._body)))
