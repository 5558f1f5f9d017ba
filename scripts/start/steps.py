"""What a person sees during a set-up: one line a step, saying what it is doing now."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

CLEAR_LINE = "\r\033[K"
LOG_INTERVAL_S = 10.0
TAIL_LINES = 15

Show = Callable[[str], None]


class SetupFailed(Exception):
    """The set-up cannot go on; the message says why and what to do."""


def say(text: str) -> None:
    """Print one line at once, also into a pipe."""
    print(f"fallback: {text}", flush=True)


@contextmanager
def step(title: str) -> Iterator[Show]:
    """Announce a step and yield the function that shows how far it is.

    On a terminal the line is rewritten in place; in a log it is repeated every ten seconds.
    """
    started = time.monotonic()
    shown_at = started
    on_terminal = sys.stdout.isatty()

    def show(status: str) -> None:
        nonlocal shown_at
        if on_terminal:
            print(f"{CLEAR_LINE}  {status[:70]}", end="", flush=True)
        elif time.monotonic() - shown_at >= LOG_INTERVAL_S:
            shown_at = time.monotonic()
            print(f"  {status}", flush=True)

    say(title)
    yield show
    took_s = time.monotonic() - started
    print(f"{CLEAR_LINE if on_terminal else ''}  done in {took_s:.1f} s", flush=True)


def pip(python: Path, verb: str, *arguments: str | Path) -> list[str]:
    """The command that runs a pip verb in `python`'s environment."""
    quiet = ("--disable-pip-version-check", "--progress-bar=off")
    return [str(part) for part in (python, "-m", "pip", verb, *quiet, *arguments)]


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether a command exits without an error; what it prints is dropped."""
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def run(
    command: Sequence[str],
    *,
    title: str,
    log: Path,
    status: Callable[[str], str | None],
    env: Mapping[str, str] | None = None,
) -> None:
    """Run `command` as a step, its output kept in `log`; `status` turns a line into a status.

    Raises `SetupFailed` with the last lines and the log's path if it exits with an error.
    """
    with step(title) as show, log.open("w") as kept:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=env,
        )
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if shown := status(line):
                show(shown)
        if process.wait() != 0:
            kept.flush()
            raise SetupFailed(_failure(title, log))


@contextmanager
def locked(folder: Path, waiting: str) -> Iterator[None]:
    """Hold the lock of a folder, which goes away with the process; say `waiting` if it is held."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(waiting)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _failure(title: str, log: Path) -> str:
    tail = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    lines = "\n".join(f"  | {line[:200]}" for line in tail)
    return f"this step failed: {title}\n{lines}\n  The full log is {log}"
