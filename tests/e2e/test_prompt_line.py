"""`fallback status --line`, as a shell's prompt runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import asks
import pytest
import raw_http
from standin import StandIn, faults
from standin.service import EAGER, Fallback, running_fallback

_COMMAND = str(Path(sys.executable).with_name("fallback"))
_WHAT_IT_LOADS = """
import sys
sys.argv = ["fallback", "status", "--line"]
from fallback.cli import main
try:
    main()
except SystemExit:
    pass
print(sorted({"typer", "fastapi", "httpx", "msgspec", "http.client"} & set(sys.modules)))
"""


@pytest.fixture
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


def _line(url: str, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [_COMMAND, "status", "--line", *arguments],
        env={"PATH": os.environ["PATH"], "FALLBACK_URL": url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def _break(cloud: StandIn, service: Fallback) -> None:
    cloud.script(faults.status(503, "api_error"))
    body = asks.MESSAGES.body()
    for _ in range(50):
        raw_http.send(service.url, "POST", asks.MESSAGES.path, asks.KEYS, body)
    service.await_health("anthropic", "down")


def test_one_line_says_how_things_stand(cloud: StandIn, tmp_path: Path) -> None:
    """Well, down and not there, told by the line and the exit code."""
    settings = {"LOCAL__MODE": "off", **EAGER}
    with running_fallback(cloud.url, tmp_path / "log", **settings) as service:
        assert _line(service.url) == (0, "fallback: cloud well, local off\n")
        assert _line("http://127.0.0.1:9", "--url", service.url)[0] == 0
        _break(cloud, service)
        code, line = _line(service.url)
        assert code == 1
        assert line.startswith("fallback: anthropic down ")
        assert line.endswith("; local off\n")
    code, line = _line(service.url)
    assert (code, line.count("\n")) == (1, 1)
    assert "does not answer" in line


def test_what_is_wrongly_asked_is_told() -> None:
    """The one option there is."""
    assert _line("", "--json") == (2, "usage: fallback status --line [--url URL]\n")
    assert "only http://" in _line("https://127.0.0.1:1")[1]


def test_it_loads_next_to_nothing() -> None:
    """No library that takes its time to import."""
    done = subprocess.run(
        [sys.executable, "-c", _WHAT_IT_LOADS],
        env={"PATH": os.environ["PATH"], "FALLBACK_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
