"""Find out what this machine has, as far as it matters to a model."""

from __future__ import annotations

import platform
from pathlib import Path

import psutil

from fallback.local.worker.cpu import logical_cores, physical_cores
from fallback.local.worker.hardware import Device, Hardware

_CPUINFO = Path("/proc/cpuinfo")
_CGROUP = Path("/sys/fs/cgroup")


def look(features: str, devices: tuple[Device, ...]) -> Hardware:
    """The machine as it is now; what llama.cpp knows of it comes from the caller."""
    memory = psutil.virtual_memory()
    total, free = within_limits(memory.total, memory.available, _CGROUP)
    return Hardware(
        cpu=_cpu_name(),
        features=features,
        cores=physical_cores(),
        logical_cores=logical_cores(),
        memory_bytes=total,
        free_bytes=free,
        devices=devices,
    )


def within_limits(total: int, free: int, cgroup: Path) -> tuple[int, int]:
    """Total and free bytes under the limit of this container, if it has one (cgroup v2)."""
    limit = _number(cgroup / "memory.max")
    used = _number(cgroup / "memory.current")
    if limit is None or used is None or limit >= total:
        return total, free
    # Pages of files are counted as used, but given back as soon as they are needed.
    return limit, min(free, max(0, limit - used + _file_pages(cgroup / "memory.stat")))


def _file_pages(stat: Path) -> int:
    try:
        lines = stat.read_text().splitlines()
    except OSError:
        return 0
    found = dict(line.split(maxsplit=1) for line in lines if " " in line)
    return int(found.get("inactive_file", 0)) + int(found.get("active_file", 0))


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # "max": no limit
        return None


def _cpu_name() -> str:
    try:
        lines = _CPUINFO.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.machine()
