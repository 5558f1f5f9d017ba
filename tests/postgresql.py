"""A real PostgreSQL server for tests, from the system's packages."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

_USER = "postgres"
_START_S = 60


class Missing(Exception):
    """There is no server on this machine."""


@contextmanager
def server() -> Iterator[str]:
    """The URL of a fresh server without its database, while it runs. Raises `Missing`."""
    programs = _programs()
    # Not below pytest's folders, which the server's own user may not enter.
    folder = Path(tempfile.mkdtemp(prefix="fallback-postgresql-"))
    if os.geteuid() == 0:  # which the server does not run as
        shutil.chown(folder, _USER, _USER)
    try:
        data = folder / "data"
        _run(
            programs / "initdb", "-D", data, "-U", _USER, "--auth=trust", "--no-sync", "-E", "UTF8"
        )
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        options = f"-h 127.0.0.1 -p {port} -k '' -c fsync=off"
        log = folder / "log"
        control = (programs / "pg_ctl", "-D", data)
        _run(*control, "-w", "-t", _START_S, "-l", log, "-o", options, "start")
        try:
            yield f"postgresql://{_USER}@127.0.0.1:{port}"
        finally:
            _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def create(server_url: str, name: str) -> str:
    """A new, empty database: its URL."""
    with psycopg.connect(f"{server_url}/postgres", autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"'.encode())
    return f"{server_url}/{name}"


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found and (other := shutil.which("initdb")):
        found = [Path(other)]
    if not found:
        raise Missing("PostgreSQL's server is not installed: apt-get install postgresql")
    return found[-1].parent


def _run(*command: object) -> None:
    as_other: dict[str, Any] = {}
    if os.geteuid() == 0:
        as_other = {"user": _USER, "group": _USER, "extra_groups": []}
    done = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        check=False,
        **as_other,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed: {done.stderr.decode()}")
