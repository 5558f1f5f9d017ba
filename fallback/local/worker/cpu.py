"""The processors this process may use: how many threads are worth having, how busy they are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from fallback.local.worker.crowd import Used

_TOPOLOGY = Path("/sys/devices/system/cpu")
_RARE = ("irq", "softirq")


def physical_cores() -> int:
    """Cores this process may use, two hardware threads of one core counted once.

    Linux tells; elsewhere every logical processor counts.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_core(cpu) for cpu in os.sched_getaffinity(0)})


def logical_cores() -> int:
    """Hardware threads this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len(os.sched_getaffinity(0))


def used() -> Used:
    """What these processors have done so far. Time that a hypervisor took counts as unused: fewer
    threads would not bring it back. Takes 0.1 ms."""
    usable = _usable()
    times = [
        each
        for cpu, each in enumerate(psutil.cpu_times(percpu=True))
        if usable is None or cpu in usable
    ]
    # `guest` time is counted within `user` already.
    all_s = sum(
        getattr(each, name, 0.0) for each in times for name in ("user", "nice", "system", *_RARE)
    )
    return Used(all_s=all_s, own_s=time.process_time())


def _usable() -> set[int] | None:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def _core(cpu: int) -> str:
    try:
        return (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)
