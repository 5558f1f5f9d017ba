"""`fallback report` from a database."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import msgspec
import pytest
from ledger_lines import receipt
from typer.testing import CliRunner

from fallback.cli.commands import app
from fallback.core.receipt import Gap, canonical, us
from fallback.storage.database import Database
from fallback.storage.ledger import Ledger
from fallback.storage.lines import Line

MONTH = datetime.datetime(2026, 3, 1, tzinfo=datetime.UTC)


@pytest.fixture
def place(database_place: Path | str, monkeypatch: pytest.MonkeyPatch) -> Path | str:
    kind = "PATH" if isinstance(database_place, Path) else "URL"
    monkeypatch.setenv(f"FALLBACK_STORAGE__{kind}", str(database_place))
    return database_place


def at(number: int, day: int, **changes: object) -> Line:
    started = us((MONTH + datetime.timedelta(days=day - 1)).timestamp())
    made = msgspec.structs.replace(
        receipt(number), operation="generate", started_us=started, **changes
    )
    return Line(canonical(made), made)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == 0, done.output
    return done.output


def keep(place: Path | str) -> None:
    gap = Gap(from_us=at(0, 5).receipt.started_us, lost=3, software="t", until_us=1, why="full")
    lines = [
        at(0, 1),
        at(1, 31, tier="local", reason="upstream-503", duration_us=9_000_000),
        at(2, 15),
        at(3, 15, ended="killed", status=None),
        at(4, 32),
    ]
    Ledger(Database(place), lambda payload: "").append(lines, gap)


def test_a_month_is_told(place: Path | str) -> None:
    """Its requests and no others, in tables for a person."""
    keep(place)
    told = run("--month", "2026-03")
    assert "2026-03-01 00:00 to 2026-04-01 00:00 UTC" in told
    rows = [" ".join(line.split()) for line in told.splitlines()]
    assert "anthropic all 3 66.666 % 100 %" in rows
    assert "local 1 33.333 % - - - 9.00 9.00" in rows
    assert "1 more were given up by their clients, or ended by a kill." in rows
    assert "Of 3 more the receipts are lost: they are not counted." in rows


def test_the_same_for_programs(place: Path | str) -> None:
    """As JSON."""
    keep(place)
    told = json.loads(run("--month", "2026-03", "--json"))
    assert told["services"][0]["without_us"] == pytest.approx(2 / 3)
    assert (told["requests"], told["unfinished"], told["lost"]) == (3, 1, 3)
    assert told["until"] == "2026-04-01T00:00:00+00:00"


def test_an_empty_month(place: Path | str) -> None:
    """Nothing is made up."""
    assert "No answered request is on record" in run("--month", "2020-02")
    assert "No answered request is on record" in run()


def test_a_month_that_is_none(place: Path | str) -> None:
    """What to say instead."""
    done = CliRunner().invoke(app, ["report", "--month", "2026-13"])
    assert done.exit_code == 2
    assert "such as 2026-11" in done.output
