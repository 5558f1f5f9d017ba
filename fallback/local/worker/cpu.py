"""The processors this process may use: how many threads are worth having, how busy they are."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from fallback.local.worker.crowd import Used

_TOPOLOGY = Path("/sys/devices/system/cpu")
# `guest` time is counted within `user` already; what a hypervisor took counts as unused, for fewer
# threads would not bring it back.
_BUSY = ("user", "nice", "system", "irq", "softirq")


def physical_cores() -> int:
    """Cores this process may use, two hardware threads of one core counted once.

    Linux tells; elsewhere every logical processor counts.
    """
    return len({_core(cpu) for cpu in _usable()})


def logical_cores() -> int:
    """Hardware threads this process may use."""
    return len(_usable())


def used() -> Used:
    """What these processors have done so far. Takes 0.1 ms."""
    usable = _usable()
    all_s = sum(
        getattr(times, name, 0.0)
        for cpu, times in enumerate(psutil.cpu_times(percpu=True))
        if cpu in usable
        for name in _BUSY
    )
    return Used(all_s=all_s, own_s=time.process_time())


def _usable() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _core(cpu: int) -> str:
    try:
        return (_TOPOLOGY / f"cpu{cpu}/topology/thread_siblings_list").read_text()
    except OSError:
        return str(cpu)
