"""`fallback outages`: of the running service, else of its database."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import msgspec
import pytest
from outage_events import down
from typer.testing import CliRunner, Result

from fallback.cli.commands import app
from fallback.cli.outage_text import lines
from fallback.core.outages import Outage, body
from fallback.storage.outages import OutageStore

NOBODY = "http://127.0.0.1:9"


def over(outage: Outage) -> Outage:
    return msgspec.structs.replace(outage, ended=outage.started + 90, watched_until=0.0)


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with one outage of an hour ago and one of last year."""
    now = time.time()
    path = tmp_path / "fallback.db"
    OutageStore(path).save([over(down(now - 3600)), over(down(now - 366 * 86400, number=2))])
    return path


def run(*arguments: str, path: Path, url: str = NOBODY) -> Result:
    env = {"FALLBACK_STORAGE__PATH": str(path), "FALLBACK_URL": url}
    return CliRunner().invoke(app, ["outages", *arguments], env=env)


@pytest.fixture
def service() -> Iterator[str]:
    """A service that has one outage on, of which no database knows."""
    outage = msgspec.structs.replace(down(time.time() - 60), watched_until=time.time())
    told = body(outage, now=time.time())
    pages = {
        "/fallback/outages": {
            "as_of": time.time(),
            "outages": [told],
            "storage": {"error": "disk full"},
        },
        "/fallback/outages/out-1": told,
    }

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path.partition("?")[0])
            self.send_response(200 if page else 404)
            self.end_headers()
            self.wfile.write(json.dumps(page or {"detail": "No record of it."}).encode())

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_without_a_service_the_database_is_read(path: Path) -> None:
    """And it says so, beside the list."""
    result = run(path=path)
    assert result.exit_code == 0
    assert f"Reading {path}" in result.stderr
    heading, row = result.stdout.splitlines()
    assert heading.split() == ["outage", "began", "lasted", "worst", "now", "requests"]
    assert row.split()[0] == "out-1"
    assert row.split()[4:] == ["90", "s", "down", "over", "1", "(local:", "1)"]


def test_a_service_is_asked_first(path: Path, service: str) -> None:
    """It knows what is on; what its disk refuses is told."""
    result = run(path=path, url=service)
    assert "(local: 1)" in result.stdout
    assert "down" in result.stdout.split()
    assert result.stderr == "The service's database does not work: disk full\n"


def test_the_list_goes_back_as_far_as_asked(path: Path) -> None:
    """A number and a unit; anything else is refused with an example."""
    assert len(json.loads(run("list", "--json", "--since", "400d", path=path).stdout)) == 2
    assert "No outage on record in the last 30m." in run("--since", "30m", path=path).stdout
    refused = run("--since", "yesterday", path=path)
    assert refused.exit_code == 2
    assert "such as 30d" in refused.output


def test_show_takes_the_latest_unless_told_otherwise(path: Path) -> None:
    """By its id any."""
    latest = run("show", path=path)
    assert "[out-1]" in latest.stdout
    assert latest.stderr.count("Reading") == 1
    assert "[out-2]" in run("show", "out-2", path=path).stdout
    assert json.loads(run("show", "out-2", "--json", path=path).stdout)["id"] == "out-2"


def test_what_is_not_there_is_an_error(path: Path, service: str, tmp_path: Path) -> None:
    """Exit code 1 and a message, from either source."""
    for result, message in (
        (run("show", "out-9", path=path), "there is no outage out-9"),
        (run("show", "out-9", path=path, url=service), "No record of it."),
        (run("report", path=tmp_path / "none.db"), "there is no outage on record"),
        (run("list", path=tmp_path), f"fallback: {tmp_path}: "),
    ):
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stdout == ""


def test_an_outage_is_explained_in_local_time() -> None:
    """What, since when, whose fault, what came of requests, and the evidence in order."""
    outage = msgspec.structs.replace(down(), watched_until=1_000_060.0)
    told = "\n".join(lines(outage, now=1_000_061.0))
    for part in (
        "anthropic: down [out-1]",
        "from      1970-01-12 13:46:40 UTC",
        "to        it is on, last looked at 1970-01-12 13:47:40 UTC",
        "at fault  the provider: its endpoint did not serve requests",
        "requests  1 affected: answered by local: 1; without a whole answer 0.",
        "attempts  1 made, 1 failed, 0 too slow",
        "1970-01-12 13:46:50 UTC  suspect -> down (request: upstream-529: Overloaded)",
    ):
        assert part in told
    assert "unknown: the service stopped" in "\n".join(lines(outage, now=2_000_000.0))


def test_a_name_cannot_dress_up_the_table(tmp_path: Path) -> None:
    """Models are named by clients: neither markup nor control codes get through."""
    path = tmp_path / "fallback.db"
    outage = over(down(time.time() - 60))
    failure = msgspec.structs.replace(next(iter(outage.failures)), model="[red]:skull:[/red]")
    named = msgspec.structs.replace(outage, failures=type(outage.failures)((failure,)))
    OutageStore(path).save([named])
    assert "[red]:skull:[/red]" in run("show", path=path).stdout


def test_a_report_goes_to_a_file_or_to_the_output(path: Path, tmp_path: Path) -> None:
    """Markdown, or JSON for a program."""
    assert run("report", path=path).stdout.startswith("# Outage of anthropic")
    assert json.loads(run("report", "--format", "json", path=path).stdout)["outage"] == "out-1"
    file = tmp_path / "report.md"
    written = run("report", "out-2", "-o", str(file), path=path)
    assert (written.exit_code, written.stdout) == (0, "")
    assert "| outage | out-2 |" in file.read_text()
    refused = run("report", "-o", str(tmp_path / "no" / "such"), path=path)
    assert refused.exit_code == 1
    assert "cannot be written" in refused.stderr
