"""Memory and CPU of one process, from /proc (Linux)."""

import re
from dataclasses import dataclass
from pathlib import Path

_FIELD = re.compile(r"^(\w+): +(\d+) kB$", re.MULTILINE)
_KB_IN_MB = 1024 / 1e6  # what the kernel calls kB are 1024 bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is resident, in 10^6 bytes: all of it, a fair share of what is shared, and what the
    kernel could drop because it is also in a file (libraries, the mapped model)."""

    rss_mb: float
    pss_mb: float
    file_mb: float


def memory(pid: int) -> Memory:
    """The memory of a process now."""
    return parse_memory(Path(f"/proc/{pid}/smaps_rollup").read_text())


def parse_memory(rollup: str) -> Memory:
    """From the text of /proc/PID/smaps_rollup, proc_pid_smaps(5)."""
    mb = {name: int(value) * _KB_IN_MB for name, value in _FIELD.findall(rollup)}
    return Memory(rss_mb=mb["Rss"], pss_mb=mb["Pss"], file_mb=mb["Rss"] - mb["Anonymous"])


def cpu_s(pid: int) -> float:
    """CPU time of the threads that live, to the nanosecond: ticks of 10 ms cannot show idleness.

    Source: /proc/PID/task/TID/schedstat, Documentation/scheduler/sched-stats.rst of Linux.
    """
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def only_child(pid: int) -> int:
    """The one process that another has started; raises `ValueError` if there is not one."""
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)
