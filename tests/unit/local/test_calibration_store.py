"""What was measured, and what was made for it, kept on disk."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest

from fallback.local.settings import WorkerSettings
from fallback.local.worker import calibration_store as store
from fallback.local.worker import requantize
from fallback.local.worker.calibration_plan import Trial
from fallback.local.worker.calibration_store import Record, Requantized
from fallback.local.worker.hardware import Hardware
from fallback.local.worker.tuning import Choice, Speeds

SETTINGS = WorkerSettings(model_path="m", model_name="m")
HARDWARE = Hardware(cpu="c", features="f", cores=2, logical_cores=2, memory_bytes=8, free_bytes=4)
CHOICE = Choice(flash_attention=True, ubatch_tokens=256, threads=2, threads_batch=2)
RECORD = Record(
    trials=(Trial(choice=CHOICE, failure="why"),),
    requantized=Requantized(quantization="Q4_0", made_of="Q4_1", sha256="00"),
    choice=CHOICE,
    speeds=Speeds(prefill=(0.005, 1e-6), decode=(0.01, 1e-6)),
)


def test_kept(tmp_path: Path) -> None:
    """What is written is read again; what is not there, or is damaged, is none."""
    assert store.read(tmp_path, "key") is None
    store.write(tmp_path, "key", RECORD)
    assert store.read(tmp_path, "key") == RECORD
    assert RECORD.done
    store.path_of(tmp_path, "key").write_bytes(b'{"trials": 3}')
    assert store.read(tmp_path, "key") is None


def test_bounded(tmp_path: Path) -> None:
    """Of many records the oldest go."""
    for age in range(20):
        store.write(tmp_path, f"key{age}", RECORD)
        os.utime(store.path_of(tmp_path, f"key{age}"), (age, age))
    store.write(tmp_path, "newest", RECORD)
    kept = [age for age in range(20) if store.read(tmp_path, f"key{age}")]
    assert kept == list(range(5, 20))
    assert store.read(tmp_path, "newest") == RECORD


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"context_tokens": 4096}, False),
        ({"threads": 1}, False),
        ({"flash_attention": True}, False),
        ({"requantize": "auto"}, False),
        ({"queue_limit": 1}, True),
        ({"heartbeat_s": 9.0}, True),
        ({"model_path": "elsewhere"}, True),
    ],
)
def test_key(change: dict[str, object], same: bool) -> None:
    """Another model, machine, build or setting that matters has a record of its own."""
    key = store.key(SETTINGS, "sha", HARDWARE)
    changed = msgspec.structs.replace(SETTINGS, **change)
    assert (store.key(changed, "sha", HARDWARE) == key) is same
    assert store.key(SETTINGS, "other", HARDWARE) != key
    newer = msgspec.structs.replace(HARDWARE, features="newer build")
    assert store.key(SETTINGS, "sha", newer) != key
    later = msgspec.structs.replace(HARDWARE, free_bytes=1)
    assert store.key(SETTINGS, "sha", later) == key


def test_requantized_files(tmp_path: Path) -> None:
    """A whole file is put in its place by its hash's name; the newest two are kept."""
    for age in range(4):
        target = requantize.place(tmp_path, f"sha{age}", "Q4_0")
        written = requantize.temporary(target)
        written.write_bytes(b"model %d" % age)
        os.utime(written, (age, age))
        assert requantize.keep(written, target) == requantize.sha256_of(target)
        assert not written.exists()
    left = sorted(path.name for path in target.parent.iterdir())
    assert left == ["sha2.Q4_0.gguf", "sha3.Q4_0.gguf"]
    assert target.stat().st_mode & 0o077 == 0


def test_what_becomes_of_what() -> None:
    """Only what has no fewer bits left is made: Q4_0 of Q4_1."""
    assert requantize.faster_quantization("Q4_1") == "Q4_0"
    for other in ("Q8_0", "F16", "Q5_1", "Q4_K_M", "Q4_0", "unknown"):
        assert requantize.faster_quantization(other) is None
