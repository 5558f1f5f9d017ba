"""What else goes on on this machine: the battery, the processor, the memory.

Source: https://psutil.readthedocs.io/stable/api.html; figures of the system as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

import psutil

from fallback.local.pacing import Machine


class MachineWatch:
    """Looks when it is called; `others_cpu` is that since the look before, less what the process
    `worker` (its id, if there is one) took. A look costs about 0.2 ms."""

    def __init__(self, worker: Callable[[], int | None]) -> None:
        self._worker = worker
        self._all_s, self._idle_s = _system_s()
        self._own: tuple[int | None, float] = (None, 0.0)

    def __call__(self) -> Machine:
        battery = psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
        memory = psutil.virtual_memory()
        return Machine(
            on_battery=battery is not None and battery.power_plugged is False,
            others_cpu=self._others_cpu(),
            free_memory=memory.available / memory.total,
        )

    def _others_cpu(self) -> float:
        all_s, idle_s = _system_s()
        passed_s = all_s - self._all_s
        busy_s = passed_s - (idle_s - self._idle_s) - self._own_s()
        self._all_s, self._idle_s = all_s, idle_s
        return min(1.0, max(0.0, busy_s / passed_s)) if passed_s > 0 else 0.0

    def _own_s(self) -> float:
        """Processor seconds of the worker since the last look; a new one's come with the next."""
        pid = self._worker()
        before, self._own = self._own, (pid, _process_s(pid))
        return self._own[1] - before[1] if before[0] == pid else 0.0


def _system_s() -> tuple[float, float]:
    """Seconds of all cores so far, and those of them that nobody used."""
    times = psutil.cpu_times()
    # `guest` time is counted within `user` already.
    counted = (getattr(times, name) for name in times._fields if not name.startswith("guest"))
    return sum(counted), times.idle + getattr(times, "iowait", 0.0)


def _process_s(pid: int | None) -> float:
    try:
        times = psutil.Process(pid).cpu_times() if pid is not None else None
    except psutil.Error:
        return 0.0
    return 0.0 if times is None else times.user + times.system
