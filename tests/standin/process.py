"""A service as a process: started, awaited by the line that it prints, killed, its log kept."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from standin.server import PATIENCE_S

_LISTENING = re.compile(rb"listening on (http://\S+:\d+)")
_TESTS = Path(__file__).parents[1]


class Service:
    """A process that prints `listening on http://...` once it accepts; a context manager.

    Its output goes to `log`, whole, and stays there for whoever looks at a failed test.
    """

    def __init__(self, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.log = log
        self.url = ""
        self._command = list(command)
        self._env = dict(env)
        self._known = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Service {' '.join(self._command[:3])} at {self.url or 'no address'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None, f"{self!r} is not running"
        return self._process.pid

    def start(self) -> None:
        """Start it and wait for its address. Raises `AssertionError` with the log."""
        self._known.clear()
        self._process = subprocess.Popen(
            self._command,
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        if not self._known.wait(PATIENCE_S) or not self.url:
            self.kill()
            raise AssertionError(f"{self!r} did not say where it listens:\n{self.text()}")

    def terminate(self) -> int:
        """Ask it to end, wait, return its exit status."""
        assert self._process is not None, f"{self!r} is not running"
        self._process.terminate()
        return self._process.wait(PATIENCE_S)

    def kill(self) -> None:
        """End it and its children with SIGKILL."""
        if self._process is None or self._reader is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        self._process = None

    def text(self) -> str:
        """Everything it printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout, self.log.open("ab", buffering=0) as log:
            for line in process.stdout:
                log.write(line)
                if found := _LISTENING.search(line):
                    self.url = found.group(1).decode()
                    self._known.set()
        self._known.set()


def standin_process(port: int, log: Path) -> Service:
    """The stand-in as a process of its own: `kill()` and `start()` on the same port."""
    command = [sys.executable, "-u", "-m", "standin", "--port", str(port)]
    return Service(command, {**os.environ, "PYTHONPATH": str(_TESTS)}, log)
