"""What is to be written to the database soon, where a killed process leaves it behind.

A *segment* is a file in the machine's memory (tmpfs) that is mapped into this process: writing to
it costs no system call, never waits for a disk, and outlives a `kill -9`, though no power cut. Its
lines are `+` and a receipt that is to be written, or `-` and the one that a request which has begun
gets if nothing more is heard of it. The next process of the same database finds them.

Rules of this file:
- A process holds the lock of its own folder; a folder whose lock is free was left behind.
- The pages of a segment are taken when it is made: where the memory is used up a write into a
  hole would kill the process.
- A line that was half written when the process died has no end, and is not read.
- Without a place for segments there is no journal, and everything else goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import filelock
import msgspec
import platformdirs

_log = logging.getLogger("fallback.storage")

SEGMENT_BYTES = 1536 * 1024
_LOCK = "lock"


DONE, BEGUN = b"+", b"-"


class _Named(msgspec.Struct):
    id: str


_id = msgspec.json.Decoder(_Named)


class LeftBehind(NamedTuple):
    """What a process that died had not written: receipts, and those of requests that it had begun
    and not answered."""

    receipts: tuple[bytes, ...]
    unanswered: tuple[bytes, ...]


class Segment:
    """One file of a journal."""

    def __init__(self, path: Path, size: int = SEGMENT_BYTES) -> None:
        """Raises `OSError`, also where there is no room."""
        self._path = path
        with path.open("xb+") as file:
            path.chmod(0o600)
            file.write(bytes(size))
            file.flush()
            self._map = mmap.mmap(file.fileno(), size)
        self._at = 0

    def __repr__(self) -> str:
        return f"<Segment {self._path.name} {self._at}/{len(self._map)}>"

    def append(self, mark: bytes, line: bytes) -> bool:
        """Note a line, which has no line break in it; False where it does not fit any more."""
        end = self._at + len(line) + 2
        if end > len(self._map):
            return False
        # The break comes last: without it the line does not count.
        self._map[self._at : end - 1] = mark + line
        self._map[end - 1] = 10
        self._at = end
        return True

    def remove(self) -> None:
        """All of it is in the database."""
        self._map.close()
        with contextlib.suppress(OSError):
            self._path.unlink()


class Journal:
    """The segments of this process for one database, under `folder`."""

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Raises `OSError` where the folder cannot be made."""
        _make_private(folder)
        self._own = Path(tempfile.mkdtemp(dir=folder, prefix="of-"))
        self._lock = filelock.FileLock(self._own / _LOCK)
        self._lock.acquire(timeout=0)
        self._folder = folder
        self._segment_bytes = segment_bytes
        self._made = 0

    def __repr__(self) -> str:
        return f"<Journal {self._own} made={self._made}>"

    def segment(self, least_bytes: int = 0) -> Segment:
        """A fresh one. Raises `OSError`."""
        self._made += 1
        size = max(self._segment_bytes, least_bytes)
        return Segment(self._own / f"{self._made:08d}", size)

    def left_behind(self) -> Iterator[tuple[LeftBehind, Path]]:
        """What processes that died have left, each with the folder to `forget` once it is safe."""
        for folder in sorted(self._folder.glob("of-*")):
            if folder == self._own:
                continue
            lock = filelock.FileLock(folder / _LOCK)
            with contextlib.suppress(filelock.Timeout, OSError):
                lock.acquire(timeout=0)
                try:
                    yield _read(folder), folder
                finally:
                    lock.release()

    def forget(self, folder: Path) -> None:
        """What lay there is in the database."""
        shutil.rmtree(folder, ignore_errors=True)

    def close(self, *, keep: bool) -> None:
        """This process ends; `keep` what is not written for the next one."""
        self._lock.release()
        if not keep:
            self.forget(self._own)


def place_for(database: str) -> Path:
    """Where the journals of a database lie: in memory, where the machine has a place for that."""
    name = hashlib.sha256(database.encode()).hexdigest()[:16]
    shared = Path("/dev/shm")  # noqa: S108 - the folder in it is checked to be the owner's alone
    if shared.is_dir() and os.access(shared, os.W_OK):
        return shared / f"fallback-{os.getuid()}" / name
    return platformdirs.user_runtime_path("fallback") / name


def _make_private(folder: Path) -> None:
    """Raises `OSError` where somebody else could read or plant lines."""
    for each in (folder.parent, folder):
        each.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = each.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            raise OSError(f"{each} belongs to somebody else, or others may write there")


def _read(folder: Path) -> LeftBehind:
    receipts: dict[str, bytes] = {}
    begun: dict[str, bytes] = {}
    for path in sorted(folder.glob("[0-9]*")):
        for line in _lines(path):
            kind = {DONE: receipts, BEGUN: begun}.get(line[:1])
            with contextlib.suppress(msgspec.DecodeError):
                if kind is not None:
                    kind[_id.decode(line[1:]).id] = line[1:]
    unanswered = [line for id, line in begun.items() if id not in receipts]
    return LeftBehind(tuple(receipts.values()), tuple(unanswered))


def _lines(path: Path) -> list[bytes]:
    try:
        written = path.read_bytes().partition(b"\0")[0]
    except OSError as error:
        _log.warning("what a service left behind cannot be read: %s", error)
        return []
    return written.split(b"\n")[:-1]
