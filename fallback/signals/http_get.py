"""One GET over an open connection, which it uses up: no redirects, no cookies, no keys."""

from __future__ import annotations

import re
from asyncio import StreamReader, StreamWriter
from collections.abc import Mapping

import httptools
import msgspec

_CHUNK_BYTES = 16 * 1024
_HEAD_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


class HttpAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """`headers` have lower-case names. `body` is not `whole` where it is over the limit."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool

    @property
    def media_type(self) -> str:
        """`application/json`, in lower case and without parameters; empty if not told."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


async def get(
    reader: StreamReader,
    writer: StreamWriter,
    target: str,
    headers: Mapping[str, str],
    *,
    limit_bytes: int,
) -> HttpAnswer:
    """Send the request and read the answer, at most `limit_bytes` of its body.

    Raises `OSError`, `EOFError` where the connection closes before the end of the answer, and
    `httptools.HttpParserError`.
    """
    head = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
    await writer.drain()
    reading = _Reading()
    while not reading.whole and reading.body_bytes <= limit_bytes:
        chunk = await reader.read(_CHUNK_BYTES)
        if not chunk:
            reading.end()
            break
        reading.feed(chunk)
    return reading.answer(limit_bytes)


async def tunnel(
    reader: StreamReader, writer: StreamWriter, authority: str, authorization: str | None
) -> int:
    """Ask a proxy for a way to `host:port` (RFC 9110 section 9.3.6) -> the status it answers.

    Raises `OSError`, `EOFError`, `asyncio.LimitOverrunError`, and `ValueError` for no HTTP.
    """
    head = [f"CONNECT {authority} HTTP/1.1", f"host: {authority}"]
    if authorization is not None:
        head.append(f"proxy-authorization: {authorization}")
    writer.write("\r\n".join([*head, "", ""]).encode("latin-1"))
    await writer.drain()
    line = _STATUS_LINE.match(await reader.readuntil(b"\r\n\r\n"))
    if line is None:
        raise ValueError("the proxy's answer is no HTTP")
    return int(line[1])


class _Reading:
    """What has come of an answer so far: the callbacks of httptools."""

    def __init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._head_bytes = 0
        self._head_done = False
        self.status = 0
        self.body_bytes = 0
        self.whole = False

    def feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as error:
            raise httptools.HttpParserError("it switches protocols unasked") from error
        if not self._head_done:
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_BYTES:
                raise httptools.HttpParserError("the answer's head is too large")

    def end(self) -> None:
        """The connection closed: the proper end only of an answer without a length."""
        framed = {"content-length", "transfer-encoding"} & self._headers.keys()
        if not self._head_done or framed:
            raise EOFError("the connection closed before the end of the answer")
        self.whole = True

    def answer(self, limit_bytes: int) -> HttpAnswer:
        return HttpAnswer(
            status=self.status,
            headers=self._headers,
            body=b"".join(self._body)[:limit_bytes],
            whole=self.whole and self.body_bytes <= limit_bytes,
        )

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self._headers = {}
        else:
            self._head_done = True

    def on_body(self, body: bytes) -> None:
        self._body.append(body)
        self.body_bytes += len(body)

    def on_message_complete(self) -> None:
        self.whole = self._head_done
