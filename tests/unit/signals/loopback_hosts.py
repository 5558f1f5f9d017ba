"""Hosts on loopback for the ladder to climb to, with names, certificates and a proxy."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import trustme
from aiohappyeyeballs import AddrInfoType

from fallback.signals.climb import Limits

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

LIMITS = Limits(connect_s=0.5, answer_s=0.3, whole_s=0.8)


class Names:
    """A resolver that knows these names, and what they stand for; of others there is no DNS."""

    def __init__(self, *known: str) -> None:
        self.known = set(known)

    async def __call__(self, host: str, port: int) -> Sequence[AddrInfoType]:
        if host not in self.known and host != "127.0.0.1":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("127.0.0.1", port))]


class Authority:
    """A certificate authority; `pem` is the path of its certificate."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.pem = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.pem)

    def context(self, *names: str) -> ssl.SSLContext:
        """A server's, with a certificate for these names."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(*names).configure_cert(context)
        return context


class Speaker:
    """Gives every request the same answer; `heard` keeps the heads."""

    def __init__(self, answer: bytes) -> None:
        self.heard: list[bytes] = []
        self._answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            self.heard.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(self._answer)
            await writer.drain()
        writer.close()


class Tunneller:
    """An HTTP proxy that knows where names lead; the others it refuses with 502."""

    def __init__(self, ports: dict[str, int], *, refusal: bytes | None = None) -> None:
        self.heard: list[bytes] = []
        self._ports = ports
        self._refusal = refusal

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heard.append(head)
        name = head.split(b" ")[1].decode().partition(":")[0]
        if self._refusal is not None or name not in self._ports:
            writer.write(self._refusal or http("502 Bad Gateway", b""))
            writer.close()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._ports[name])
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_pipe(reader, inner_writer), _pipe(inner_reader, writer))


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass  # the other side hung up
    finally:
        writer.close()


@asynccontextmanager
async def serving(serve: Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server; yields its port."""
    tasks: set[asyncio.Task[None]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(kept, "127.0.0.1", 0, ssl=tls)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes everything and never says a word."""
    await asyncio.get_running_loop().create_future()


def http(status: str, body: bytes, *more: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", *more, "", ""]
    return "\r\n".join(head).encode() + body


KEYLESS = http(
    "401 Unauthorized", b'{"type": "error", "error": {}}', "content-type: application/json"
)
PORTAL = http("200 OK", b"<html>Welcome to the hotel</html>", "content-type: text/html")
