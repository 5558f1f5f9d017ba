"""States of sequences on disk, so that a restart does not lose what was computed.

Rules of this file:
- A state can be read only as it was written: a file is written aside and then renamed, and read
  back only if its tokens give its key and its checksum holds. llama.cpp's reader is never shown
  a damaged byte. What is damaged is deleted and counts as not there.
- States of another model, llama.cpp or layout of the memory (the *fingerprint*) lie in folders
  of their own. They are never read, and go like all others when they are the oldest.
- The folder takes at most its budget, and leaves the disk `_KEEP_FREE_BYTES`. A disk that is
  full or read-only costs the states, nothing else: no method raises.
- The files hold what clients have said: the folders are for their owner alone (0700, 0600).
- Several processes may share a folder. One may find that another has deleted what it knew of.

A file is the header (`_HEADER`: mark, number of tokens, bytes and CRC-32 of the state), the
packed tokens, the state. CRC-32 finds damage at 4 GB/s; it is no defence against the owner.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, TypeAlias

from fallback.local.worker.lease import Spill
from fallback.local.worker.saved_states import key_of
from fallback.local.worker.token_trie import TOKEN_BYTES, length

Blob: TypeAlias = bytes | bytearray | memoryview

_HEADER = struct.Struct("=8sQQL")
_MARK = b"kvstate1"
_SUFFIX = ".kvstate"
_UNFINISHED = ".part"
_KEEP_FREE_BYTES = 1 << 30


class SpillStore:
    """States by key. `fingerprint`: all that a state depends on, as text: the model's hash,
    llama.cpp's version, the types of K and V, flash attention (it turns V)."""

    def __init__(self, folder: Path, budget_bytes: int, fingerprint: str) -> None:
        self._root = folder
        self._budget_bytes = budget_bytes
        depends = f"{sys.byteorder}\n{fingerprint}".encode()
        self._folder = folder / hashlib.blake2b(depends, digest_size=12).hexdigest()

    def __repr__(self) -> str:
        return f"<SpillStore {self._folder} budget_bytes={self._budget_bytes}>"

    def load_index(self) -> tuple[Spill, ...]:
        """What is here from earlier runs, the last used last. Deletes what is damaged, and the
        oldest where there is too much."""
        self._make_room(0)
        found = ((path, _tokens_of(path)) for path in _by_use([self._folder]))
        return tuple(Spill(key=path.stem, tokens=tokens) for path, tokens in found if tokens)

    def write(self, spill: Spill, state: Blob) -> tuple[str, ...]:
        """Keep a state. Returns the keys of those deleted for it; its own if it is not kept."""
        head = _HEADER.pack(_MARK, length(spill.tokens), len(state), zlib.crc32(state))
        size = len(head) + len(spill.tokens) + len(state)
        unfinished = self._path(spill.key).with_suffix(f".{os.getpid()}{_UNFINISHED}")
        try:
            self._make_folders()
            if not self._fits(size):
                return (spill.key,)
            dropped = self._make_room(size)
            with open(unfinished, "wb", opener=_owner_only) as file:
                file.writelines((head, spill.tokens, state))
            unfinished.replace(self._path(spill.key))
        except OSError:
            _delete(unfinished)
            return (spill.key,)
        return tuple(key for key in dropped if key != spill.key)

    def read(self, key: str) -> bytes | None:
        """The state, as it was written; None if it is not to be had. It counts as used now."""
        path = self._path(key)
        try:
            with path.open("rb") as file:
                _, size, checksum = _read_head(file, key)
                state = file.read(size)
            if zlib.crc32(state) != checksum:
                raise ValueError("the state is damaged")
            os.utime(path)
        except (OSError, ValueError):
            _delete(path)
            return None
        return state

    def drop(self, key: str) -> None:
        """Delete a state, if it is there."""
        _delete(self._path(key))

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _make_folders(self) -> None:
        for folder in (self._root, self._folder):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.chmod(0o700)

    def _fits(self, size: int) -> bool:
        free = shutil.disk_usage(self._root).free
        return size <= self._budget_bytes and size + _KEEP_FREE_BYTES <= free

    def _make_room(self, size: int) -> tuple[str, ...]:
        """Delete the oldest, whoever's they are. Returns the keys of ours among them."""
        files = _by_use(path for path in _children(self._root) if path.is_dir())
        excess = sum(files.values()) + size - self._budget_bytes
        dropped = []
        for path, taken in files.items():
            if excess <= 0:
                break
            excess -= taken
            _delete(path)
            if path.parent == self._folder and path.suffix == _SUFFIX:
                dropped.append(path.stem)
        return tuple(dropped)


def _tokens_of(path: Path) -> bytes | None:
    """The tokens of a file; None, and the file deleted, if it is no whole state."""
    if path.suffix != _SUFFIX:
        return None
    try:
        with path.open("rb") as file:
            return _read_head(file, path.stem)[0]
    except (OSError, ValueError):
        _delete(path)
        return None


def _read_head(file: BinaryIO, key: str) -> tuple[bytes, int, int]:
    """The tokens, and the state's bytes and checksum. Raises `ValueError` where this is not the
    state of that key, or not all of it."""
    head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise ValueError("shorter than its header")
    mark, count, size, checksum = _HEADER.unpack(head)
    whole = _HEADER.size + count * TOKEN_BYTES + size
    if mark != _MARK or os.fstat(file.fileno()).st_size != whole:
        raise ValueError("not a state, or not all of it")
    tokens = file.read(count * TOKEN_BYTES)
    if key_of(tokens) != key:
        raise ValueError("not the tokens of its name")
    return tokens, size, checksum


def _by_use(folders: Iterable[Path]) -> dict[Path, int]:
    """Our files with their sizes, what was used longest ago first. What another process deletes
    meanwhile is left out."""
    found = []
    for folder in folders:
        for path in _children(folder):
            if path.suffix not in (_SUFFIX, _UNFINISHED):
                continue
            with contextlib.suppress(OSError):
                status = path.stat()
                found.append((status.st_mtime_ns, path, status.st_size))
    return {path: size for _, path, size in sorted(found)}


def _children(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _owner_only(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _delete(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()
