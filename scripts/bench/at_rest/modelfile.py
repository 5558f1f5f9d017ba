"""A copy of the model, so that making it cold disturbs nobody and nobody keeps it warm."""

import asyncio
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

_CHUNK_BYTES = 1 << 20
_DROPS_WITHIN_S, _DROPS_AGAIN_S = 5.0, 0.1


class StillCached(Exception):
    """The kernel did not let go of the file: what follows would be no cold start."""


def copy_of(model: Path, directory: Path) -> Path:
    """A copy under the same name (the catalog knows models by it), safe on disk."""
    copy = directory / model.name
    shutil.copyfile(model, copy)
    with _reading(copy) as file:
        os.fsync(file)
    return copy


async def make_cold(path: Path) -> None:
    """Drop the file from the page cache. Raises `StillCached`, always so where /tmp is in memory.

    The kernel holds on to single pages for a moment after whoever used them has ended.
    """
    until = monotonic() + _DROPS_WITHIN_S
    while kept := _drop(path):
        if monotonic() > until:
            raise StillCached(f"{kept} places of {path} are still in memory")
        await asyncio.sleep(_DROPS_AGAIN_S)


def _drop(path: Path) -> int:
    """How many places, one each MiB, are in memory nevertheless."""
    with _reading(path) as file:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return sum(_is_cached(file, at) for at in range(0, os.fstat(file).st_size, _CHUNK_BYTES))


def make_warm(path: Path) -> None:
    """Read all of the file, so that it is in the page cache."""
    with path.open("rb", buffering=0) as file:
        while file.read(_CHUNK_BYTES):
            pass


def _is_cached(file: int, offset: int) -> bool:
    try:
        os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _reading(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)
