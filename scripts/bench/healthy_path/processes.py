"""Start a process on given cores, read what its process tree costs, end all of it (Linux)."""

import os
import signal
import socket
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1e6
_ENDS_WITHIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command and its whole environment: nothing of ours (proxies, keys) leaks into it."""

    command: Sequence[str]
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Stat:
    """What is used here of /proc/PID/stat, proc_pid_stat(5)."""

    parent: int
    cpu_s: float
    rss_mb: float


@dataclass(frozen=True, slots=True)
class Process:
    """A running process with all that it started."""

    child: subprocess.Popen[bytes]
    log: Path

    def cpu_s(self) -> float:
        """User and system time of the tree since its start, its ended children included."""
        return sum(stat.cpu_s for stat in self._tree().values())

    def rss_mb(self) -> float:
        """Resident memory (10^6 bytes) of the tree; what its processes share counts in each."""
        return sum(stat.rss_mb for stat in self._tree().values())

    def pids(self) -> tuple[int, ...]:
        """All processes of the tree."""
        return tuple(self._tree())

    def has_ended(self) -> bool:
        return self.child.poll() is not None

    def log_tail(self) -> str:
        """The end of what it wrote to stdout and stderr."""
        return self.log.read_text(errors="replace")[-1500:].strip()

    def _tree(self) -> dict[int, _Stat]:
        stats, generation = _all_stats(), {self.child.pid}
        tree: dict[int, _Stat] = {}
        while generation:
            tree |= {pid: stats[pid] for pid in generation if pid in stats}
            generation = {pid for pid, stat in stats.items() if stat.parent in generation}
        return tree


def _all_stats() -> dict[int, _Stat]:
    stats = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(FileNotFoundError, ProcessLookupError):
                stats[int(entry.name)] = _parse((entry / "stat").read_text())
    return stats


def _parse(line: str) -> _Stat:
    # The command's name stands in brackets and may hold anything, brackets too.
    fields = line.rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:15])
    return _Stat(parent=int(fields[1]), cpu_s=ticks * _TICK_S, rss_mb=int(fields[21]) * _PAGE_MB)


def free_port() -> int:
    """A port on loopback that nobody listens on right now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def scratch_directory() -> Iterator[Path]:
    """A directory for configurations and logs that is gone afterwards."""
    with TemporaryDirectory(prefix="fallback-bench-") as directory:
        yield Path(directory)


@contextmanager
def running(launch: Launch, *, cores: Collection[int], log: Path) -> Iterator[Process]:
    """Runs the command on these cores, in a session of its own that is ended on the way out."""
    on_cores = ("taskset", "--cpu-list", ",".join(map(str, cores)), *launch.command)
    with log.open("wb") as output:
        child = subprocess.Popen(
            on_cores,
            env=dict(launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Process(child, log)
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(_ENDS_WITHIN_S)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
