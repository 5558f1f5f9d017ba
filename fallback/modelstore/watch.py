"""Watches a download by what it leaves on the disk, whoever does it and however."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fallback.modelstore.verify import Progress

_LOOK_INTERVAL_S = 0.2


@contextmanager
def watching(folder: Path, total: int, progress: Progress) -> Iterator[None]:
    """While the block runs, tell `progress` how the largest file in `folder` grows.

    `total` is what it will be, in bytes. `progress` is called from another thread.
    """
    over = threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_INTERVAL_S):
            progress("downloading", min(_largest_bytes(folder), total), total)

    thread = threading.Thread(target=look, name="watch-download", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _largest_bytes(folder: Path) -> int:
    sizes = []
    for file in folder.rglob("*"):
        try:
            sizes.append(file.stat().st_size)
        except FileNotFoundError:  # it has just been moved
            continue
    return max(sizes, default=0)
