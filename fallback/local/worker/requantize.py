"""Model files that were requantized here, once: which to make, and where they lie.

Q4_1 becomes Q4_0, which has as many bits for each weight less its offset, and for which
llama.cpp has repacked kernels (shared facts, 7: 1.9 x the prefill). Nothing is made with fewer
bits than that: it is the operator's choice to use a smaller model.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from pathlib import Path

_FOLDER = "requantized"
_FASTER = {"Q4_1": "Q4_0"}
_MOST_FILES = 2


def faster_quantization(quantization: str) -> str | None:
    """What this one may become, if anything."""
    return _FASTER.get(quantization)


def place(cache_dir: Path, sha256: str, quantization: str) -> Path:
    """Where the file made of the model with this hash lies."""
    return cache_dir / _FOLDER / f"{sha256}.{quantization}.gguf"


def has_space(cache_dir: Path, model: Path) -> bool:
    """Whether the disk would hold another such file, and as much again would stay free."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(cache_dir).free > 2 * model.stat().st_size


def temporary(target: Path) -> Path:
    """Where to write it while it is not whole."""
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return target.with_suffix(f".{os.getpid()}.part")


def keep(written: Path, target: Path) -> str:
    """Put a whole file in its place; its SHA-256. Others than the newest few are removed."""
    digest = sha256_of(written)
    written.chmod(0o600)
    written.replace(target)
    others = sorted(target.parent.glob("*.gguf"), key=lambda path: path.stat().st_mtime)
    for old in others[:-_MOST_FILES]:
        remove(old)
    return digest


def remove(path: Path) -> None:
    """Forget a file, if it is there."""
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
