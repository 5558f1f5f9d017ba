"""One request being answered: the few moves of which answers and faults are made."""

from __future__ import annotations

import asyncio
import socket
import struct
from http import HTTPStatus

from standin.wire import Answer, Headers, Request

_LINGER_ZERO = struct.pack("ii", 1, 0)


class Exchange:
    """Writes the answer to one request, well or badly.

    `answer` is what a healthy cloud would say. A client that leaves cancels the task that runs
    the exchange, so that nothing here has to look for it.
    """

    def __init__(
        self,
        request: Request,
        answer: Answer,
        writer: asyncio.StreamWriter,
        release: asyncio.Event,
    ) -> None:
        self.request = request
        self.answer = answer
        self.keep_alive = (request.header("connection") or "").lower() not in ("close", "upgrade")
        self._writer = writer
        self._release = release

    async def respond(self, answer: Answer) -> None:
        """The whole answer, as a well server sends it."""
        if not answer.events:
            await self.head(answer.status, (*answer.headers, _length(answer.body)))
            return await self.raw(b"" if self.request.method == "HEAD" else answer.body)
        await self.head_of_stream(answer)
        await self.chunks(answer.events)
        return await self.end()

    async def head(self, status: int, headers: Headers) -> None:
        """Status line and headers."""
        phrase = HTTPStatus(status).phrase if status in set(HTTPStatus) else "Unknown"
        lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
        if not self.keep_alive:
            lines.append("Connection: close")
        await self.raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def head_of_stream(self, answer: Answer) -> None:
        """The head of a chunked answer."""
        await self.head(answer.status, (*answer.headers, ("Transfer-Encoding", "chunked")))

    async def chunks(self, parts: tuple[bytes, ...]) -> None:
        """Each part as a chunk of its own."""
        for part in parts:
            await self.raw(b"%x\r\n%s\r\n" % (len(part), part))

    async def end(self) -> None:
        """The end of a chunked answer."""
        await self.raw(b"0\r\n\r\n")

    async def raw(self, data: bytes) -> None:
        """Bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def hold(self) -> None:
        """Wait until the test releases what is held; a client that leaves ends it, too."""
        await self._release.wait()

    def close(self) -> None:
        """Close the connection in order, whatever was promised."""
        self.keep_alive = False

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.keep_alive = False
        sock: socket.socket = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
        self._writer.transport.abort()


def _length(body: bytes) -> tuple[str, str]:
    return ("Content-Length", str(len(body)))
