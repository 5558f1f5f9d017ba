"""The service under test as a process, in front of upstreams of the test's choice."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from standin.process import Service
from standin.server import HOST, PATIENCE_S

_COMMAND = Path(sys.executable).with_name("fallback")
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")

# Evidence never adds up to an outage: every request is tried at the cloud first.
PATIENT = {"HEALTH__HALF_LIFE_S": "1e-9", "HEALTH__FALSE_DOWN_DAYS": "36500"}
# Probes follow each other quickly, so that a test of a recovery is short.
EAGER = {
    "HEALTH__PROBE_FIRST_S": "0.2",
    "HEALTH__PROBE_CAP_S": "0.5",
    "HEALTH__CANARY_FIRST_S": "0.2",
    "HEALTH__HOLD_FIRST_S": "0.2",
}
# Short answers to short prompts: the tests are about their shape.
TERSE = {"LOCAL__MAX_OUTPUT_TOKENS": "24", "LOCAL__MAX_PROMPT_TOKENS": "256"}


class Fallback(Service):
    """A running `fallback serve`."""

    def status(self) -> dict[str, Any]:
        """What `GET /fallback/status` says."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(HOST, address.port or 80, timeout=PATIENCE_S)
        try:
            connection.request("GET", "/fallback/status")
            body = connection.getresponse().read()
        finally:
            connection.close()
        found = json.loads(body)
        assert isinstance(found, dict), found
        return found

    def await_status(self, wanted: Callable[[Mapping[str, Any]], bool], what: str) -> None:
        """Ask until the status is as wanted. Raises `AssertionError` with the last one."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(status := self.status()):
            assert time.monotonic() < deadline, f"not {what}: {status}\n{self.text()}"
            time.sleep(0.02)

    def await_local(self) -> None:
        """Until the local model can answer."""
        self.await_status(lambda status: status["local"]["state"] == "ready", "ready locally")

    def await_health(self, upstream: str, state: str) -> None:
        """Until the upstream's health is `state`."""
        self.await_status(
            lambda status: status["upstreams"][upstream]["state"] == state, f"{upstream} {state}"
        )


@contextmanager
def running_fallback(cloud_url: str, log: Path, **overrides: str) -> Iterator[Fallback]:
    """`fallback serve` on a free port, both upstreams at `cloud_url`; killed at the end.

    `overrides` are settings by the name of their environment variable, without `FALLBACK_`.
    Raises `AssertionError` at the end if the service logged an error.
    """
    with ailing_fallback(cloud_url, log, **overrides) as service:
        if overrides.get("LOCAL__MODE") != "off":
            service.await_local()
        yield service
        assert " ERROR " not in service.text(), f"it logged errors:\n{service.text()}"


@contextmanager
def ailing_fallback(cloud_url: str, log: Path, **overrides: str) -> Iterator[Fallback]:
    """The same where errors are what the test is about: it may have no model and log them."""
    settings = {
        "UPSTREAMS__ANTHROPIC__BASE_URL": cloud_url,
        "UPSTREAMS__OPENAI__BASE_URL": cloud_url,
        "STORAGE__PATH": str(log.with_suffix(".db")),
        # What the engine does of its own accord takes time from the tests beside it.
        "LOCAL__CALIBRATE": "off",
        "LOCAL__STANDBY": "loaded",
        "LOCAL__SPILL_MB": "0",
        "LOCAL__MAX_PROMPT_TOKENS": "768",
        **overrides,
    }
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env.update({f"FALLBACK_{name}": value for name, value in settings.items()})
    command = [str(_COMMAND), "serve", "--host", HOST, "--port", "0"]
    with Fallback(command, env, log) as service:
        yield service
