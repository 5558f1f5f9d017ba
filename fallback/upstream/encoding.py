"""Content codings (RFC 9110 section 8.4.1), decoded only to look inside or to answer here.

What goes to the client or the upstream keeps its coding, byte for byte.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from fallback.core.errors import BadRequest


class DecodingError(Exception):
    """The bytes are not what their `Content-Encoding` says, or grow beyond the limit."""


class _Incremental(Protocol):
    def __call__(self, chunk: bytes) -> bytes: ...


class _Finished(Protocol):
    def __call__(self) -> bool: ...


class Decoder:
    """Decodes a body chunk by chunk; `limit_bytes` bounds what comes out in all.

    `coding` is the value of `Content-Encoding`; None or `identity` passes bytes through. Raises
    `DecodingError`, at once for a coding that is not known.
    """

    def __init__(self, coding: str | None, *, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._decode, self._finished = _open(coding)

    def feed(self, chunk: bytes) -> bytes:
        try:
            out = self._decode(chunk)
        except DecodingError:
            raise
        except Exception as error:
            # Each codec has an exception class of its own; all mean the same here.
            raise DecodingError(str(error)) from error
        self._left -= len(out)
        if self._left < 0:
            raise DecodingError("decoded body is larger than the limit")
        return out

    def finish(self) -> None:
        """Raises `DecodingError` if the coding ended too early."""
        if not self._finished():
            raise DecodingError("encoded body ends too early")


def decode(body: bytes, coding: str | None, *, limit_bytes: int) -> bytes:
    """A whole body decoded. Raises `DecodingError`."""
    decoder = Decoder(coding, limit_bytes=limit_bytes)
    out = decoder.feed(body)
    decoder.finish()
    return out


def plain(body: bytes, coding: str | None, *, limit_bytes: int) -> bytes:
    """A request's body decoded. Raises `BadRequest`."""
    if coding is None:
        return body
    try:
        return decode(body, coding, limit_bytes=limit_bytes)
    except DecodingError as error:
        raise BadRequest(f"The request's body cannot be decoded: {error}.") from error


def _open(coding: str | None) -> tuple[_Incremental, _Finished]:
    name = (coding or "identity").strip().lower()
    if name == "identity":
        return (lambda chunk: chunk), (lambda: True)
    if name in ("gzip", "x-gzip"):
        return _zlib(zlib.MAX_WBITS | 16)
    if name == "deflate":
        return _zlib(zlib.MAX_WBITS)
    if name == "br":
        return _brotli()
    if name == "zstd":
        return _zstd()
    raise DecodingError(f"unknown content coding {name!r}")


_STEP_BYTES = 32 * 1024 * 1024


def _zlib(wbits: int) -> tuple[_Incremental, _Finished]:
    stream = zlib.decompressobj(wbits)

    def feed(chunk: bytes) -> bytes:
        out = stream.decompress(chunk, _STEP_BYTES)
        if stream.unconsumed_tail:
            raise DecodingError("decoded body is larger than the limit")
        return out

    return feed, lambda: stream.eof


def _brotli() -> tuple[_Incremental, _Finished]:
    import brotli

    stream = brotli.Decompressor()

    def feed(chunk: bytes) -> bytes:
        out: bytes = stream.process(chunk, output_buffer_limit=_STEP_BYTES)
        if not stream.can_accept_more_data():
            raise DecodingError("decoded body is larger than the limit")
        return out

    return feed, stream.is_finished


def _zstd() -> tuple[_Incremental, _Finished]:
    from backports import zstd

    stream = zstd.ZstdDecompressor()

    def feed(chunk: bytes) -> bytes:
        out: bytes = stream.decompress(chunk, _STEP_BYTES)
        if not (stream.needs_input or stream.eof):
            raise DecodingError("decoded body is larger than the limit")
        return out

    return feed, lambda: bool(stream.eof)
