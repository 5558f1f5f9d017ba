"""What was measured, kept: one small file for each model, machine and set of settings.

A file says what it is about by its name; one that cannot be read counts as none. Written
whole and put in place at once, so that a process killed at any time leaves the last good one.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

import filelock
import msgspec

from fallback.local.settings import WorkerSettings
from fallback.local.worker.calibration_plan import Trial
from fallback.local.worker.hardware import Hardware
from fallback.local.worker.tuning import Choice, Speeds

_VERSION = 3
_FOLDER = "calibration"
_MOST_FILES = 16
# What the operator set decides what can be measured, and so belongs to the name.
_SETTINGS = (
    "context_tokens",
    "request_tokens",
    "slots",
    "threads",
    "batch_tokens",
    "ubatch_tokens",
    "flash_attention",
    "kv_type",
    "gpu_layers",
    "memory_mb",
    "requantize",
)


class Requantized(msgspec.Struct, frozen=True, kw_only=True):
    """The file that was made of the model's."""

    quantization: str
    made_of: str
    sha256: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """How far the calibration of one key is. `trying` is what is being measured, for the
    `tries`-th time: who finds it here after a crash knows what did it. Once `choice` is set it
    is done."""

    trials: tuple[Trial, ...] = ()
    trying: Choice | None = None
    tries: int = 0
    spent_s: float = 0.0
    requantized: Requantized | None = None
    choice: Choice | None = None
    speeds: Speeds | None = None

    @property
    def done(self) -> bool:
        return self.choice is not None


def key(settings: WorkerSettings, sha256: str, hardware: Hardware) -> str:
    """What a record is for, as the name of its file."""
    told = {name: getattr(settings, name) for name in _SETTINGS}
    parts = (_VERSION, sha256, hardware.identity, told)
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def path_of(cache_dir: Path, key: str) -> Path:
    """Where the record is kept."""
    return cache_dir / _FOLDER / f"{key}.json"


def lock(cache_dir: Path) -> filelock.BaseFileLock:
    """For one process at a time: two would disturb each other."""
    folder = cache_dir / _FOLDER
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return filelock.FileLock(folder / ".lock")


def read(cache_dir: Path, key: str) -> Record | None:
    """The record, if there is a readable one."""
    try:
        return msgspec.json.decode(path_of(cache_dir, key).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None


def write(cache_dir: Path, key: str, record: Record) -> None:
    """Keep it; the oldest of too many others are removed. Raises `OSError`."""
    target = path_of(cache_dir, key)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = target.with_suffix(f".{os.getpid()}")
    temporary.write_bytes(msgspec.json.encode(record))
    temporary.replace(target)
    known = sorted(target.parent.glob("*.json"), key=lambda path: path.stat().st_mtime)
    for old in known[:-_MOST_FILES]:
        with contextlib.suppress(OSError):
            old.unlink()
