"""An outage as it is told afterwards, by the service and by what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asks
import pytest
import raw_http
from standin import PATIENCE_S, StandIn, faults
from standin.service import EAGER, Fallback, ailing_fallback, running_fallback

_NO_LOCAL = {"LOCAL__MODE": "off", **EAGER}
_SECRET = "the tiger sleeps at noon"


@pytest.fixture
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


def _post(service: Fallback) -> raw_http.RawAnswer:
    body = asks.MESSAGES.body(_SECRET)
    return raw_http.send(service.url, "POST", asks.MESSAGES.path, asks.KEYS, body)


def _break(cloud: StandIn, service: Fallback) -> None:
    """Every request fails from now on, until it shows."""
    cloud.script(faults.status(503, "api_error"))
    for _ in range(50):
        _post(service)
        if _state(service.status()) == "down":
            return
    raise AssertionError(f"50 failures are no outage:\n{service.text()}")


def _mend(cloud: StandIn, service: Fallback) -> None:
    """Requests are answered again, until it shows."""
    cloud.heal()
    service.await_status(
        lambda status: _post(service).status > 0 and _state(status) == "healthy", "healthy"
    )


def _state(status: Mapping[str, Any]) -> Any:
    return status["upstreams"]["anthropic"]["state"]


def _fallback(*arguments: str, database: Path, url: str = "http://127.0.0.1:9") -> str:
    """What `fallback outages` prints."""
    command = [str(Path(sys.executable).with_name("fallback")), "outages", *arguments]
    env = {"FALLBACK_URL": url, "FALLBACK_STORAGE__PATH": str(database), "PATH": os.environ["PATH"]}
    run = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE_S, check=True
    )
    return run.stdout


def test_an_outage_is_on_record_from_its_first_failure_to_its_end(
    cloud: StandIn, tmp_path: Path
) -> None:
    """Started, explained while it is on, ended, reported; without key and content."""
    log, database = tmp_path / "fallback.log", tmp_path / "fallback.db"
    with running_fallback(cloud.url, log, **_NO_LOCAL) as service:
        _break(cloud, service)
        on: dict[str, Any] = json.loads(
            _fallback("show", "--json", database=database, url=service.url)
        )
        assert (on["phase"], on["worst"], on["ended"]) == ("on", "down", None)
        assert on["attempts"]["statuses"] == {"503": on["attempts"]["failed"]}
        assert on["failures"]["first"][0]["error_type"] == "api_error"
        _mend(cloud, service)
        told = _fallback("report", on["id"], database=database, url=service.url)
        listed = _fallback(database=database, url=service.url)
        service.terminate()
    assert [line.split()[0] for line in listed.splitlines()] == ["outage", on["id"]]
    kept = _fallback("report", on["id"], database=database)
    assert _without_its_date(kept) == _without_its_date(told)
    left = told.encode() + b"".join(path.read_bytes() for path in tmp_path.glob("fallback.db*"))
    assert _SECRET.encode() not in left
    assert b"sk-ant-test" not in left


def test_a_sudden_death_in_an_outage_leaves_an_honest_record(
    cloud: StandIn, tmp_path: Path
) -> None:
    """No end is made up, and the next service neither continues nor closes it."""
    log, database = tmp_path / "fallback.log", tmp_path / "fallback.db"
    with running_fallback(cloud.url, log, **_NO_LOCAL) as service:
        _break(cloud, service)
        service.await_status(_all_on_disk, "on disk")
    again = {"STORAGE__PATH": str(database), **_NO_LOCAL}
    with running_fallback(cloud.url, tmp_path / "next.log", **again) as service:
        (left,) = json.loads(_fallback("--json", database=database, url=service.url))
    assert (left["ended"], left["worst"]) == (None, "down")
    assert left["watched_until"] >= left["started"]


def test_a_database_that_cannot_be_written_costs_no_answer(cloud: StandIn, tmp_path: Path) -> None:
    """The service answers as ever, tells the outage from memory, and says what is wrong."""
    log = tmp_path / "fallback.log"
    with ailing_fallback(cloud.url, log, STORAGE__PATH=str(tmp_path), **_NO_LOCAL) as service:
        _break(cloud, service)
        service.await_status(lambda status: status["storage"]["state"] == "failing", "failing")
        _mend(cloud, service)
        assert _post(service).status == 200
        told = json.loads(_fallback("show", "--json", database=tmp_path, url=service.url))
        assert told["phase"] == "ended"
    assert "outages cannot be written" in service.text()


def _all_on_disk(status: Mapping[str, Any]) -> bool:
    storage = status["storage"]
    return bool(storage["state"] == "ok" and storage["waiting"] == 0)


def _without_its_date(report: str) -> list[str]:
    return [line for line in report.splitlines() if not line.startswith("| report written")]
