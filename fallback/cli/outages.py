"""`fallback outages`: what went wrong, whose fault it was, and a report for the provider."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from urllib.parse import quote

import msgspec
import typer
from typer.core import TyperGroup

from fallback.cli import outage_text
from fallback.cli.printing import fail, print_table
from fallback.cli.service import DEFAULT_URL, NoService, NotFound, Url, ask

if TYPE_CHECKING:
    from fallback.core.outages import Outage
    from fallback.storage.outages import OutageStore


class _ListByDefault(TyperGroup):
    """Without a command it lists."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ListByDefault,
    help="The outages on record: list, show, report. Without a command it lists.",
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None,
    typer.Option(envvar="FALLBACK_CONFIG", help="TOML file; its storage.path counts."),
]
Id = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="An outage [the latest].", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

_T = TypeVar("_T")
_SINCE = re.compile(r"(\d+)([smhd])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Format(StrEnum):
    """What a report is written as."""

    md = "md"
    json = "json"


def _age_s(text: str) -> float:
    """`30d` -> seconds."""
    found = _SINCE.fullmatch(text)
    if found is None:
        raise typer.BadParameter("a number and a unit: s, m, h or d, such as 30d")
    return float(found[1]) * _UNIT_S[found[2]]


@app.command("list")
def list_outages(
    since: Annotated[str, typer.Option(help="How far back, such as 30d, 12h, 90m.")] = "30d",
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    config: Config = None,
) -> None:
    """List the outages, the latest first."""
    from fallback.core.outages import body

    source = Source(url, config)
    found = source.since(source.now - _age_s(since))
    if as_json:
        typer.echo(json.dumps([body(outage, now=source.now) for outage in found], indent=2))
    elif found:
        print_table(outage_text.table(found, now=source.now))
    else:
        typer.echo(f"No outage on record in the last {since}.")


@app.command()
def show(
    outage_id: Id = None,
    as_json: AsJson = False,
    url: Url = DEFAULT_URL,
    config: Config = None,
) -> None:
    """Explain an outage: what, since when, whose fault, by what evidence, who answered."""
    from fallback.core.outages import body

    source = Source(url, config)
    outage = source.one(outage_id)
    if as_json:
        typer.echo(json.dumps(body(outage, now=source.now), indent=2))
        return
    for line in outage_text.lines(outage, now=source.now):
        typer.echo(line)
    if len(outage.failures):
        print_table(outage_text.failures(outage))


@app.command()
def report(
    outage_id: Id = None,
    format_: Annotated[Format, typer.Option("--format", help="Markdown or JSON.")] = Format.md,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file [standard output].")
    ] = None,
    url: Url = DEFAULT_URL,
    config: Config = None,
) -> None:
    """Write a report for the provider: times in UTC, what was observed and how; no content."""
    from fallback.core.outages.report import as_json, markdown

    source = Source(url, config)
    outage, now = source.one(outage_id), source.now
    if format_ is Format.json:
        text = json.dumps(as_json(outage, now=now), indent=2) + "\n"
    else:
        text = markdown(outage, now=now)
    if output is None:
        typer.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{output} cannot be written: {error.strerror}.")
    typer.echo(f"{output}: the outage {outage.id}", err=True)


class Source:
    """The running service; where it does not answer, its database. `now` is by the clock that
    dated what was found."""

    def __init__(self, url: str, config: Path | None) -> None:
        self.now = time.time()
        self._url = url
        self._config = config
        self._store: OutageStore | None = None

    def since(self, when: float) -> list[Outage]:
        """Those that were on at or after `when`, the latest first."""
        from fallback.core.outages import Outage

        found = self._ask("/fallback/outages", {"since": str(when)})
        if found is None:
            return self._read(lambda store: store.all_since(when))
        _warn_of(found["storage"])
        self.now = found["as_of"]
        return msgspec.convert(found["outages"], list[Outage])

    def one(self, outage_id: str | None) -> Outage:
        """The one of this id, or the latest."""
        from fallback.core.outages import Outage

        name = outage_id or self._latest()
        found = self._ask(f"/fallback/outages/{quote(name, safe='')}")
        if found is not None:
            self.now = found["as_of"]
            return msgspec.convert(found, Outage)
        stored = self._read(lambda store: store.get(name))
        return stored or fail(f"there is no outage {name}: `fallback outages` lists them.")

    def _latest(self) -> str:
        latest = self.since(0.0)
        return latest[0].id if latest else fail("there is no outage on record.")

    def _ask(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any] | None:
        """What the service says, None once it is known not to answer."""
        if self._store is not None:
            return None
        try:
            return ask(self._url, path, query)
        except NotFound as error:
            fail(str(error))
        except NoService as error:
            self._store = self._opened(str(error))
            return None

    def _opened(self, why: str) -> OutageStore:
        from fallback.config import load
        from fallback.core.errors import ConfigError
        from fallback.storage.outages import OutageStore
        from fallback.storage.place import database_place, shown

        try:
            storage = load(self._config, os.environ).storage
        except ConfigError as error:
            fail(str(error))
        place = database_place(storage.path, storage.url)
        typer.echo(f"{why}. Reading {shown(place)}.", err=True)
        return OutageStore(place)

    def _read(self, get: Callable[[OutageStore], _T]) -> _T:
        from fallback.storage.errors import StorageError

        assert self._store is not None, "the service is asked first"
        try:
            return get(self._store)
        except StorageError as error:
            fail(str(error))


def _warn_of(storage: Mapping[str, Any]) -> None:
    for what in ("error", "unread"):
        if storage.get(what):
            typer.echo(f"The service's database does not work: {storage[what]}", err=True)
