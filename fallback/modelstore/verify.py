"""Whether a model file is what it should be: streamed, so that memory does not grow with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

_MAGIC = b"GGUF"
_CHUNK_BYTES = 1 << 20

Progress: TypeAlias = Callable[[str, int, int], None]
"""Told what is being done, how many bytes of it are done, and of how many."""

State: TypeAlias = Literal["good", "unrecorded", "missing", "not-gguf", "wrong-size", "wrong-hash"]


def no_progress(_doing: str, _done: int, _total: int) -> None:
    """A `Progress` that nobody watches."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What a file was expected to be and what it is. Sizes in bytes.

    `unrecorded` is a GGUF file of which no hash is on record.
    """

    path: Path
    state: State
    expected_sha256: str | None = None
    actual_sha256: str | None = None
    expected_bytes: int | None = None
    actual_bytes: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the file is exactly what was expected."""
        return self.state == "good"

    def __str__(self) -> str:
        """The finding in one sentence: the file, expected, actual."""
        return _SENTENCES[self.state].format(self=self)


_SENTENCES: dict[State, str] = {
    "good": "{self.path} is whole: sha256 {self.actual_sha256}.",
    "unrecorded": "{self.path} is a GGUF file of which no hash is on record; its sha256 is "
    "{self.actual_sha256}.",
    "missing": "{self.path} is not there.",
    "not-gguf": "{self.path} is not a GGUF file ({self.actual_bytes} bytes).",
    "wrong-size": "{self.path} is damaged: expected {self.expected_bytes} bytes, "
    "found {self.actual_bytes}.",
    "wrong-hash": "{self.path} is damaged: expected sha256 {self.expected_sha256}, "
    "found {self.actual_sha256}.",
}


def verify_file(
    path: Path,
    *,
    sha256: str | None,
    size: int | None = None,
    progress: Progress = no_progress,
) -> Verification:
    """Check a file's kind, size and hash, the cheapest first. Raises `OSError` if unreadable."""
    if not path.is_file():
        return Verification(path=path, state="missing", expected_sha256=sha256)
    actual_bytes = path.stat().st_size

    def found(state: State, actual_sha256: str | None = None) -> Verification:
        return Verification(
            path=path,
            state=state,
            expected_sha256=sha256,
            actual_sha256=actual_sha256,
            expected_bytes=size,
            actual_bytes=actual_bytes,
        )

    if not _is_gguf(path):
        return found("not-gguf")
    if size is not None and actual_bytes != size:
        return found("wrong-size")
    actual = sha256_of(path, progress)
    if sha256 is None:
        return found("unrecorded", actual)
    return found("good" if actual == sha256 else "wrong-hash", actual)


def sha256_of(path: Path, progress: Progress = no_progress) -> str:
    """The hexadecimal SHA-256 of a file."""
    total = path.stat().st_size
    digest = hashlib.sha256()
    done = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            done += len(chunk)
            progress("verifying", done, total)
    return digest.hexdigest()


def _is_gguf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC
