"""Is this the model file we were told to trust? Answered before llama.cpp sees a byte of it.

GGUF parsing has had memory-safety holes every few months, so a file is hashed first. What was
verified is remembered by the file's size, times and inode, for a start without the hashing.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import msgspec

_MAGIC = b"GGUF"
_CACHE_NAME = "verified-models.json"


class ModelFileError(Exception):
    """The model file cannot be used; the message names it, the reason and what to do."""


class Fingerprint(msgspec.Struct, frozen=True, kw_only=True):
    """What tells one state of a file from another without reading it, and its hash."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    sha256: str = ""


def verify(path: Path, expected_sha256: str | None, cache_dir: Path | None) -> str:
    """The file's SHA-256, in lower-case hex, if it is a GGUF file and the expected one.

    Raises `ModelFileError`.
    """
    try:
        _check_magic(path)
        digest = _sha256(path, cache_dir)
    except FileNotFoundError:
        raise ModelFileError(
            f"the model file {path} does not exist; run `fallback models pull`"
        ) from None
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror}") from error
    if expected_sha256 is not None and digest != expected_sha256.lower():
        raise ModelFileError(
            f"the model file {path} is corrupt, cut short or another model: its SHA-256 is"
            f" {digest}, expected {expected_sha256}; run `fallback models verify`, then"
            f" `fallback models pull`"
        )
    return digest


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        magic = file.read(len(_MAGIC))
    if magic != _MAGIC:
        raise ModelFileError(
            f"the model file {path} is not a GGUF file: it begins with {magic!r};"
            f" run `fallback models verify`, then `fallback models pull`"
        )


def _sha256(path: Path, cache_dir: Path | None) -> str:
    now = _fingerprint(path)
    known = {} if cache_dir is None else _read_cache(cache_dir)
    seen = known.get(str(path))
    if seen is not None and msgspec.structs.replace(seen, sha256="") == now:
        return seen.sha256
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if cache_dir is not None:
        known[str(path)] = msgspec.structs.replace(now, sha256=digest)
        _write_cache(cache_dir, known)
    return digest


def _fingerprint(path: Path) -> Fingerprint:
    stat = path.stat()
    return Fingerprint(
        size=stat.st_size,
        mtime_ns=stat.st_mtime_ns,
        ctime_ns=stat.st_ctime_ns,
        inode=stat.st_ino,
    )


def _read_cache(cache_dir: Path) -> dict[str, Fingerprint]:
    try:
        data = (cache_dir / _CACHE_NAME).read_bytes()
        return msgspec.json.decode(data, type=dict[str, Fingerprint])
    except (OSError, msgspec.DecodeError):
        return {}


def _write_cache(cache_dir: Path, known: dict[str, Fingerprint]) -> None:
    # A cache that cannot be written costs a hash at the next start, nothing else.
    with contextlib.suppress(OSError):
        cache_dir.mkdir(parents=True, exist_ok=True)
        temporary = cache_dir / f"{_CACHE_NAME}.{os.getpid()}"
        temporary.write_bytes(msgspec.json.encode(known))
        temporary.replace(cache_dir / _CACHE_NAME)
