"""Runs cells of the table against the real service, and judges what came of them."""

from __future__ import annotations

import http.client
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from standin import HOST, PATIENCE_S
from standin.service import Fallback

from support import sdk
from support.expected import EXPECTED
from support.fault import Ask, Cell, Fault, cells
from support.sdk import Seen
from support.server import FaultServer

_TESTS = Path(__file__).parents[1]
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_SETTLE_S, _EVERY_S = 30.0, 0.2


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came of a cell: `seen` by the client, request by request; `reached` the upstream and
    `verdicts` on the attempts in all; `health` of the upstream afterwards."""

    cell: Cell
    seen: tuple[Seen, ...]
    reached: int
    verdicts: tuple[str, ...]
    health: str

    def objections(self) -> list[str]:
        """What the table of expectations does not allow."""
        name, stream = self.cell.fault.name, self.cell.stream
        expected = EXPECTED[name]
        allowed = expected.results(stream=stream)
        found = [
            f"{self.cell}: the client saw {seen.result!r} after {seen.total_s:.1f} s, allowed: "
            f"{', '.join(sorted(allowed))}. {seen.detail}"
            for seen in self.seen
            if seen.result not in allowed
        ]
        if self.reached > (bound := expected.reached * len(self.seen)):
            found.append(f"{self.cell}: {self.reached} attempts upstream, at most {bound} allowed")
        if self.cell.fault.place == "http" and len(self.verdicts) > self.reached:
            found.append(f"{self.cell}: {self.reached} attempts upstream, told: {self.verdicts}")
        if expected.verdicts and not expected.verdicts & set(self.verdicts):
            found.append(f"{self.cell}: verdicts {self.verdicts}, not {set(expected.verdicts)}")
        if self.health not in expected.health:
            found.append(f"{self.cell}: {self.health}, not one of {set(expected.health)}")
        return found


@dataclass(frozen=True)
class Table:
    """The fault server, and before it the real service with an upstream for each cell."""

    server: FaultServer
    service: Fallback

    def url(self, cell: Cell) -> str:
        """What a client of this cell's upstream takes for its base URL."""
        return f"{self.service.url}/{cell.name}"

    def ask(self, cell: Cell, request: Ask = Ask(), *, retries: int = 0) -> Seen:  # noqa: B008 - frozen
        """What a client of the cell's upstream sees of one request."""
        url, stream = self.url(cell), cell.stream
        return sdk.ask(url, cell.dialect, request, stream=stream, retries=retries)

    def health(self, cell: Cell) -> str:
        """Of the cell's upstream."""
        return str(self.service.status()["upstreams"][cell.name]["state"])


@contextmanager
def laid(
    faults: Sequence[Fault], folder: Path, settings: Mapping[str, str], *, ready: bool = True
) -> Iterator[Table]:
    """A table of all cells of these faults, with the real model.

    `settings` by the names of their environment variables, without `FALLBACK_`; `folder` gets
    the log. Raises `AssertionError` at the end if the service logged an error, unless its model
    need not get `ready`.
    """
    log = folder / "fallback.log"
    with FaultServer() as server:
        command = [sys.executable, "-P", "-m", "support.named", str(server.names.port)]
        env = _environment(server, faults, log, settings)
        with Fallback([*command, "serve", "--host", HOST, "--port", "0"], env, log) as service:
            if ready:
                service.await_local()
            yield Table(server, service)
            errors = [line for line in service.text().splitlines() if " ERROR " in line]
            assert not (ready and errors), f"{len(errors)} errors in {log}, the first: {errors[0]}"


def _environment(
    server: FaultServer, faults: Sequence[Fault], log: Path, settings: Mapping[str, str]
) -> dict[str, str]:
    config = log.with_suffix(".toml")
    config.write_text("\n".join(_upstreams(server, faults, log.with_suffix(".pem"))))
    env = {name: os.environ[name] for name in _KEPT if name in os.environ}
    env |= {"PYTHONPATH": str(_TESTS), "FALLBACK_CONFIG": str(config)}
    told = {**_here(server, log), **settings}
    return env | {f"FALLBACK_{name}": value for name, value in told.items()}


def _here(server: FaultServer, log: Path) -> dict[str, str]:
    """Settings that keep the service on loopback and its records out of the user's folders."""
    return {
        "UPSTREAMS__ANTHROPIC__BASE_URL": server.url,
        "UPSTREAMS__OPENAI__BASE_URL": server.url,
        "SIGNALS__CONTROL_HOSTS": server.witness,
        "STORAGE__PATH": str(log.with_suffix(".db")),
    }


def _upstreams(server: FaultServer, faults: Sequence[Fault], ca_file: Path) -> Iterator[str]:
    ca_file.write_bytes(server.ca_pem)
    for fault in faults:
        for cell in cells(fault):
            yield f'[upstreams."{cell.name}"]'
            yield f'base_url = "{server.base_url(cell)}"'
            yield f'family = "{cell.family}"'
            if fault.place != "http":
                yield f'ca_file = "{ca_file}"'


def run_fault(table: Table, fault: Fault) -> list[Result]:
    """The row of a fault, its cells at the same time."""
    row = cells(fault)
    with ThreadPoolExecutor(len(row)) as pool:
        results = pool.map(lambda cell: run_cell(table, cell), row)
        if fault.meanwhile is not None:
            fault.meanwhile(table.service)
        return list(results)


def run_cell(table: Table, cell: Cell) -> Result:
    """All of a cell's requests; afterwards the cell is well."""
    seen = [table.ask(cell, request) for request in cell.fault.asks]
    if cell.fault.again:
        seen += _until_well(table, cell)
    result = Result(
        cell=cell,
        seen=tuple(seen),
        reached=table.server.answers_asked(cell),
        verdicts=tuple(_verdicts(table.service, seen)),
        health=table.health(cell),
    )
    table.server.mend(cell)
    return result


def _until_well(table: Table, cell: Cell) -> Iterator[Seen]:
    """Asks on until the cloud answers and its health is good again, or time is up."""
    deadline = time.monotonic() + _SETTLE_S
    while time.monotonic() < deadline:
        yield (seen := table.ask(cell, cell.fault.asks[-1]))
        if seen.result == "cloud" and table.health(cell) == "healthy":
            return
        time.sleep(_EVERY_S)


def _verdicts(service: Fallback, seen: Sequence[Seen]) -> Iterator[str]:
    for one in seen:
        record = _receipt(service, one.receipt) if one.receipt else {}
        for attempt in record.get("receipt", {}).get("attempts", ()):
            yield attempt["outcome"]


def _receipt(service: Fallback, receipt: str) -> Mapping[str, Any]:
    """The record of a request, which comes a moment after the end of its answer."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        status, body = _get(service, f"/fallback/receipts/{receipt}")
        if status == 200:
            found = json.loads(body)
            assert isinstance(found, dict)
            return found
        time.sleep(0.02)
    return {}


def _get(service: Fallback, path: str) -> tuple[int, bytes]:
    address = urlsplit(service.url)
    connection = http.client.HTTPConnection(HOST, address.port or 80, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
