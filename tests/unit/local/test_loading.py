"""Which file is loaded: the given one, unless one made of it is chosen and still what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from fallback.local.settings import WorkerSettings
from fallback.local.worker import requantize
from fallback.local.worker.calibration_store import Record, Requantized
from fallback.local.worker.hardware import Hardware
from fallback.local.worker.loading import Found, made_of, offload
from fallback.local.worker.tuning import Choice

SETTINGS = WorkerSettings(model_path="m", model_name="m", context_tokens=2048)
HARDWARE = Hardware(cpu="c", features="f", cores=2, logical_cores=2, memory_bytes=8, free_bytes=4)
GIVEN = Choice(flash_attention=True, ubatch_tokens=256, threads=2, threads_batch=2)
MADE = Choice(
    variant="requantized",
    flash_attention=True,
    ubatch_tokens=256,
    threads=2,
    threads_batch=2,
)


def found(cache: Path, sha256: str = "") -> Found:
    record = Record(requantized=Requantized(quantization="Q4_0", made_of="Q4_1", sha256=sha256))
    return Found(
        path=cache / "given.gguf",
        sha256="given",
        cache_dir=cache,
        hardware=HARDWARE,
        record_key="key",
        record=record,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    target = requantize.place(tmp_path, "given", "Q4_0")
    written = requantize.temporary(target)
    written.write_bytes(b"GGUF and more")
    requantize.keep(written, target)
    return target


def test_chosen(tmp_path: Path, file: Path) -> None:
    """The one that was made is loaded where it was chosen and is whole."""
    here = found(tmp_path, requantize.sha256_of(file))
    assert here.record is not None
    assert made_of(MADE, here) == (file, here.record.requantized)
    assert made_of(GIVEN, here) is None


@pytest.mark.parametrize("harm", ["changed", "no model", "gone"])
def test_harmed(tmp_path: Path, file: Path, harm: str) -> None:
    """One that is gone, or not what it was, is as good as none: a cache may be lost."""
    here = found(tmp_path, requantize.sha256_of(file))
    if harm == "gone":
        file.unlink()
    else:
        file.write_bytes(b"GGUF and less" if harm == "changed" else b"<html>")
    assert made_of(MADE, here) is None


def test_without_a_gpu(tmp_path: Path) -> None:
    """Without a GPU nothing is put on one, and the given file is not even looked at."""
    assert offload(SETTINGS, found(tmp_path)) == (0, 2048)
