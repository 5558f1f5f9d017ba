"""`fallback report`: what a month was like, for a claim under an SLA or to decide on a provider."""

from __future__ import annotations

import datetime
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from fallback.cli.printing import fail, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from fallback.core.health import Scope
    from fallback.core.service_levels import Levels

_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


class _Period(NamedTuple):
    """From and until, UTC; `now` if that comes first."""

    begin: datetime.datetime
    end: datetime.datetime


def report(
    month: Annotated[
        str | None, typer.Option(help="Such as 2026-11, in UTC [this month].", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(envvar="FALLBACK_CONFIG", help="TOML file; its storage counts."),
    ] = None,
) -> None:
    """Tell a month's service levels: availability with and without fallback, outages, latencies."""
    import msgspec

    from fallback.storage.errors import StorageError

    period = _period(month, datetime.datetime.now(datetime.UTC))
    try:
        found = _levels(period, config)
    except StorageError as error:
        fail(str(error))
    if as_json:
        told = {"from": period.begin.isoformat(), "until": period.end.isoformat()}
        whole = told | msgspec.to_builtins(found)
        typer.echo(msgspec.json.format(msgspec.json.encode(whole), indent=2).decode())
        return
    typer.echo(f"{period.begin:%Y-%m-%d %H:%M} to {period.end:%Y-%m-%d %H:%M} UTC")
    if not found.requests:
        typer.echo("No answered request is on record in that time.")
        return
    for table in _tables(found):
        print_table(table)
    for line in _remarks(found):
        typer.echo(line)


def _period(month: str | None, now: datetime.datetime) -> _Period:
    if month is None:
        return _Period(now.replace(day=1, hour=0, minute=0, second=0, microsecond=0), now)
    found = _MONTH.fullmatch(month)
    if found is None:
        raise typer.BadParameter("a year and a month, such as 2026-11", param_hint="--month")
    begin = datetime.datetime(int(found[1]), int(found[2]), 1, tzinfo=datetime.UTC)
    following = (begin + datetime.timedelta(days=31)).replace(day=1)
    return _Period(begin, max(begin, min(following, now)))


def _levels(period: _Period, config: Path | None) -> Levels:
    """Read from the database, beside a running service or without one."""
    from fallback.core.receipt import us
    from fallback.core.service_levels import Interval, levels
    from fallback.storage.database import Database
    from fallback.storage.ledger import Ledger
    from fallback.storage.outages import OutageStore
    from fallback.storage.place import database_place

    storage = _storage(config)
    place = database_place(*storage)
    ledger = Ledger(Database(place), lambda payload: "")
    begin, end = period.begin.timestamp(), period.end.timestamp()
    outages = [
        Interval(
            _named(outage.scope),
            max(begin, outage.started),
            min(end, outage.last_known),
        )
        for outage in OutageStore(place).all_since(begin)
        if outage.started < end and outage.cause is None
    ]
    lost = ledger.lost(us(begin), us(end))
    return levels(ledger.requests(us(begin), us(end)), outages, lost=lost)


def _named(scope: Scope) -> str:
    """Under whose name an outage counts: a model's is its upstream's, a key's is nobody's."""
    if scope.kind == "credential":
        return f"{scope.upstream} (a key)"
    return scope.upstream or "network"


def _storage(config: Path | None) -> tuple[str | None, str | None]:
    from fallback.config import load
    from fallback.core.errors import ConfigError

    try:
        storage = load(config, os.environ).storage
    except ConfigError as error:
        fail(str(error))
    return storage.path, storage.url


def _tables(found: Levels) -> list[Table]:
    from rich import box
    from rich.table import Table

    services = Table("upstream", "model", box=box.SIMPLE)
    for title in ("requests", "available without us", "with us"):
        services.add_column(title, justify="right")
    for each in found.services:
        services.add_row(
            each.upstream,
            each.model or "all",
            f"{each.requests:,}",
            _percent(each.without_us),
            _percent(each.with_us),
        )
    tiers = Table("answered by", box=box.SIMPLE)
    for title in ("answers", "share", "first content s: p50", "p95", "p99", "whole s: p50", "p99"):
        tiers.add_column(title, justify="right")
    for tier in found.tiers:
        firsts = [_seconds(tier.first_content_s.get(p)) for p in ("p50", "p95", "p99")]
        wholes = [_seconds(tier.duration_s.get(p)) for p in ("p50", "p99")]
        tiers.add_row(tier.tier, f"{tier.answers:,}", _percent(tier.share), *firsts, *wholes)
    outages = Table("outages of", box=box.SIMPLE)
    for title in ("number", "minutes"):
        outages.add_column(title, justify="right")
    for outage in found.outages:
        outages.add_row(outage.upstream, str(outage.count), f"{outage.minutes:.1f}")
    return [services, tiers, *([outages] if found.outages else [])]


def _remarks(found: Levels) -> list[str]:
    told = []
    if found.unfinished:
        told.append(
            f"{found.unfinished:,} more were given up by their clients, or ended by a kill."
        )
    if found.lost:
        told.append(f"Of {found.lost:,} more the receipts are lost: they are not counted.")
    if not found.outages:
        told.append("No outage is on record in that time.")
    return told


def _percent(share: float | None) -> str:
    """Never rounded up to all: 99.9996 % is not 100 %."""
    if share is None:
        return "-"
    return "100 %" if share == 1 else f"{int(share * 100_000) / 1000:.3f} %"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
