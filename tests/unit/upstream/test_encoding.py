"""Content codings, whatever is in them."""

from __future__ import annotations

import tracemalloc
import zlib
from collections.abc import Callable

import brotli
import pytest
from backports import zstd

from fallback.upstream.encoding import DecodingError, decode

_DOWN: dict[str, Callable[[bytes], bytes]] = {
    "deflate": lambda data: zlib.compress(data, 1),
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": zstd.compress,
}


@pytest.mark.parametrize("coding", _DOWN)
def test_a_bomb_is_refused_before_it_is_unpacked(coding: str) -> None:
    """A kilobyte that unpacks to a quarter of a gigabyte never has that much memory."""
    bomb = _DOWN[coding](bytes(256 * 2**20))
    tracemalloc.start()
    try:
        with pytest.raises(DecodingError, match="larger than the limit"):
            decode(bomb, coding, limit_bytes=1000)
        assert tracemalloc.get_traced_memory()[1] < 150 * 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", _DOWN)
def test_what_fits_is_decoded(coding: str) -> None:
    """To the last byte of the limit."""
    assert decode(_DOWN[coding](b"x" * 1000), coding, limit_bytes=1000) == b"x" * 1000
