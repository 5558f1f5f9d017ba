"""The fault server: each cell of the table is a base URL, and gets the fault of its name."""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from contextlib import ExitStack, suppress
from dataclasses import replace
from types import TracebackType
from typing import Self

from standin import HOST, Request, StandIn, cloud
from standin.exchange import Exchange
from standin.faults import Fault as Play

from support import dead_ends
from support.fault import Cell, Place
from support.nameserver import NameServer

ANSWERS = ("/v1/messages", "/v1/chat/completions", "/v1/responses")


class FaultServer(StandIn):
    """Listens wherever a fault needs it; a context manager.

    A request's path begins with its cell's name. `mend` makes a cell well. `ca_pem` is what
    clients should trust; `names` is whom they should ask for names; `witness` is a
    host, with its port, that is always well.
    """

    def __init__(self) -> None:
        super().__init__()
        self._cells: dict[str, Cell] = {}
        self._asked: Counter[str] = Counter()
        self._mended: set[str] = set()
        self._stack = ExitStack()
        self.names = NameServer()
        self._trust = dead_ends.trust("localhost")
        self._tls: list[asyncio.Server] = []
        self._origins: dict[Place, str] = {}
        self.witness = ""

    def __enter__(self) -> Self:
        super().__enter__()
        self._stack.enter_context(self.names)
        self._origins = self._open()
        self.witness = self._call(self._listen_tls(self._trust.good)).removeprefix("https://")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()
        super().__exit__(kind, error, at)

    @property
    def ca_pem(self) -> bytes:
        return self._trust.ca_pem

    def base_url(self, cell: Cell) -> str:
        """Of the upstream that has this cell's fault."""
        self._cells[cell.name] = cell
        return f"{self._origins[cell.fault.place]}/{cell.name}"

    def mend(self, cell: Cell) -> None:
        """From now on this cell is well."""
        with self.changed:
            self._mended.add(cell.name)

    def answers_asked(self, cell: Cell) -> int:
        """How many requests for an answer have reached this cell's upstream."""
        with self.changed:
            return self._asked[cell.name]

    def _open(self) -> dict[Place, str]:
        refused = self._stack.enter_context(dead_ends.refusing())
        dropped = self._stack.enter_context(dead_ends.dropping())
        mute = self._stack.enter_context(dead_ends.mute())
        return {
            "http": self.url,
            "named": f"http://api.well.test:{self.port}",
            "refused": f"http://{HOST}:{refused}",
            "syn-dropped": f"http://{HOST}:{dropped}",
            "no-route": f"http://{dead_ends.NO_ROUTE}:{self.port}",
            "tls-stall": f"https://{HOST}:{mute}",
            "bad-certificate": self._call(self._listen_tls(self._trust.stranger)),
            "expired-certificate": self._call(self._listen_tls(self._trust.expired)),
            "nxdomain": f"http://api.nxdomain.test:{self.port}",
            "servfail": f"http://api.servfail.test:{self.port}",
            "dns-black-hole": f"http://api.silent.test:{self.port}",
        }

    async def _listen_tls(self, context: ssl.SSLContext) -> str:
        server = await asyncio.start_server(self._connected, HOST, 0, ssl=context)
        self._tls.append(server)
        return f"https://localhost:{server.sockets[0].getsockname()[1]}"

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # asyncio 3.11 reports a connection whose task was cancelled as an error.
        with suppress(asyncio.CancelledError):
            await super()._connected(reader, writer)

    async def _stop(self) -> None:
        for server in self._tls:
            server.close()
        await super()._stop()

    async def _perform(self, request: Request, writer: asyncio.StreamWriter) -> bool:
        name, _, rest = request.target.removeprefix(b"/").partition(b"/")
        cell = self._cells.get(name.decode("latin-1"))
        if cell is None:
            return await super()._perform(request, writer)
        plain = replace(request, target=b"/" + rest)
        exchange = Exchange(plain, cloud.answer(plain), writer, self._release)
        play = self._play(cell, plain)
        await (play(exchange) if play else exchange.respond(exchange.answer))
        request.done.set()
        return exchange.keep_alive

    def _play(self, cell: Cell, request: Request) -> Play | None:
        wants_answer = request.method == "POST" and request.path in ANSWERS
        with self.changed:
            self._asked[cell.name] += wants_answer
            number = self._asked[cell.name]
            mended = cell.name in self._mended
        if mended or not (wants_answer or cell.fault.everywhere):
            return None
        return cell.fault.script(number, request)
