"""Faults of HTTP itself: heads, framing, codings, bodies that are no answer."""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace

from standin import faults
from standin.exchange import Exchange
from standin.faults import Fault as Play

from support.fault import Fault, always

_BEAT_S = 0.05
_BOMB_BLOCKS, _BOMB_BLOCK_BYTES = 128, 16 * 1024 * 1024


async def slow_headers(exchange: Exchange) -> None:
    """A byte of the head at a time, and never the end of it."""
    head = b"HTTP/1.1 200 OK\r\nX-Slow: " + b"w" * 4096
    await drip(exchange, head)
    await exchange.hold()


async def one_byte_drip(exchange: Exchange) -> None:
    """The head at once, then a byte of the body at a time."""
    answer = exchange.answer
    data = b"".join(answer.events) or answer.body
    await exchange.head(200, (*answer.headers, ("Content-Length", str(len(data)))))
    await drip(exchange, data)


async def drip(exchange: Exchange, data: bytes) -> None:
    """One byte a beat: 20 a second."""
    for at in range(len(data)):
        await exchange.raw(data[at : at + 1])
        await asyncio.sleep(_BEAT_S)


async def oversized_headers(exchange: Exchange) -> None:
    """The right answer under a head of 1 MiB."""
    answer = exchange.answer
    await exchange.respond(replace(answer, headers=(*answer.headers, ("X-Long", "x" * 2**20))))


def redirect(code: int, body: bytes, content_type: str) -> Play:
    """To a captive portal's page of login. The SDKs would follow it with their key."""

    async def play(exchange: Exchange) -> None:
        headers = (("Location", "http://127.0.0.1:9/login"), ("Content-Type", content_type))
        answer = replace(exchange.answer, status=code, headers=headers, body=body, events=())
        await exchange.respond(answer)

    return play


async def gzip_bomb(exchange: Exchange) -> None:
    """2 MiB that unpack to 2 GiB of blanks."""
    packer = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    head = packer.compress(b" ") + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush a block says the same wherever it stands.
    block = packer.compress(b" " * _BOMB_BLOCK_BYTES) + packer.flush(zlib.Z_FULL_FLUSH)
    body = head + block * _BOMB_BLOCKS
    headers = (*exchange.answer.headers, ("Content-Encoding", "gzip"))
    await exchange.respond(replace(exchange.answer, headers=headers, body=body, events=()))


async def missing_last_chunk(exchange: Exchange) -> None:
    """Every byte of the body, chunked, but the chunk that says so."""
    answer = exchange.answer
    await exchange.head_of_stream(answer)
    await exchange.chunks(answer.events or (answer.body,))
    exchange.close()


async def short_content_length(exchange: Exchange) -> None:
    """A `Content-Length` smaller than the body: what is over is not part of the answer."""
    answer = exchange.answer
    data = b"".join(answer.events) or answer.body
    await exchange.head(200, (*answer.headers, ("Content-Length", str(len(data) * 2 // 3))))
    await exchange.raw(data)
    exchange.close()


async def long_content_length(exchange: Exchange) -> None:
    """A `Content-Length` larger than what comes before the connection closes."""
    answer = exchange.answer
    data = b"".join(answer.events) or answer.body
    await exchange.head(200, (*answer.headers, ("Content-Length", str(len(data)))))
    await exchange.raw(data[: len(data) * 2 // 3])
    exchange.close()


HTTP = (
    Fault(name="silence", script=always(faults.silence), everywhere=True),
    Fault(name="slow-headers", script=always(slow_headers)),
    Fault(name="one-byte-drip", script=always(one_byte_drip)),
    Fault(name="oversized-headers", script=always(oversized_headers)),
    Fault(name="html-200", script=always(faults.html()), everywhere=True),
    Fault(name="html-503", script=always(faults.html(503)), everywhere=True),
    Fault(
        name="portal-redirect",
        script=always(redirect(302, b"<html>Moved</html>", "text/html")),
        everywhere=True,
    ),
    Fault(
        name="redirect-in-json",
        script=always(redirect(307, b'{"login":"needed"}', "application/json")),
    ),
    Fault(name="garbage-json", script=always(faults.not_json())),
    Fault(name="corrupt-gzip", script=always(faults.compressed("gzip", faults.flipped))),
    Fault(name="gzip-bomb", script=always(gzip_bomb)),
    Fault(name="short-content-length", script=always(short_content_length)),
    Fault(name="long-content-length", script=always(long_content_length)),
    Fault(name="missing-last-chunk", script=always(missing_last_chunk)),
)
