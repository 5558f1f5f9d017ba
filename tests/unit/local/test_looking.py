"""What is found out about a machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import psutil
import pytest

from fallback.local.worker.hardware import Device
from fallback.local.worker.looking import look, within_limits

GPU = Device(name="CUDA0", description="a GPU", free_bytes=5, total_bytes=10)


def test_this_machine() -> None:
    """Cores and memory are those of this machine."""
    found = look("features", ())
    assert 1 <= found.cores <= found.logical_cores <= (psutil.cpu_count() or 1)
    assert 0 < found.free_bytes <= found.memory_bytes <= psutil.virtual_memory().total
    assert found.cpu


def test_identity() -> None:
    """A measurement holds for another time on the same machine, and for no other one."""
    found = look("features", (GPU,))
    later = msgspec.structs.replace(
        found, free_bytes=1, devices=(msgspec.structs.replace(GPU, free_bytes=0),)
    )
    assert later.identity == found.identity
    for other in (
        msgspec.structs.replace(found, features="a newer build"),
        msgspec.structs.replace(found, cores=found.cores + 1),
        msgspec.structs.replace(found, devices=()),
    ):
        assert other.identity != found.identity


@pytest.mark.parametrize(
    ("limit", "current", "stat", "found"),
    [
        ("600\n", "500\n", "anon 400\ninactive_file 60\nactive_file 20\n", (600, 180)),
        ("max\n", "500\n", "", (1000, 900)),
        ("2000\n", "500\n", "", (1000, 900)),
        ("600\n", "700\n", "", (600, 0)),
        (None, None, "", (1000, 900)),
    ],
)
def test_container(
    tmp_path: Path, limit: str | None, current: str | None, stat: str, found: tuple[int, int]
) -> None:
    """In a container its limit counts, and pages of files count as free."""
    for name, text in (("memory.max", limit), ("memory.current", current), ("memory.stat", stat)):
        if text is not None:
            (tmp_path / name).write_text(text)
    assert within_limits(1000, 900, tmp_path) == found
