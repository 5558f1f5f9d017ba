"""`fallback models`: which models there are, fetching one, checking one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fallback.config import Local
    from fallback.modelstore.catalog import ModelFile
    from fallback.modelstore.verify import Progress

app = typer.Typer(
    help="The models on this machine: list, pull, verify.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None,
    typer.Option(envvar="FALLBACK_CONFIG", help="TOML file; its local.models_dir counts."),
]


@app.command("list")
def list_models(config: Config = None) -> None:
    """List the models of the catalog and the model files that are here."""
    from rich.console import Console
    from rich.table import Table

    from fallback.modelstore.catalog import CATALOG
    from fallback.modelstore.store import folder, of_file

    with _failing_politely():
        place = folder(_local(config).models_dir)
        here = {path.name: path.stat().st_size for path in sorted(place.glob("*.gguf"))}
        table = Table("model", "quantization", "size", "licence", "here", box=None, pad_edge=False)
        for entry in CATALOG:
            found = "yes" if here.pop(entry.file_name, None) == entry.bytes else "no"
            table.add_row(
                entry.id, entry.quantization, _megabytes(entry.bytes), entry.license, found
            )
        for name, size in here.items():
            quantization = of_file(place / name).quantization or "?"
            table.add_row(name, quantization, _megabytes(size), "?", "yes")
        console = Console(highlight=False)
        console.print(table)
        console.print(f"In {place}", soft_wrap=True)


@app.command()
def pull(
    model: Annotated[
        str | None,
        typer.Argument(
            help="An id of the catalog, or ORGANISATION/REPOSITORY:FILE.gguf[@REVISION] of a "
            "model hub [the configured model]."
        ),
    ] = None,
    config: Config = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Base URL of the model hub [the library's default].")
    ] = None,
) -> None:
    """Fetch a model and check it; what is here and whole stays as it is."""
    from fallback.modelstore import download
    from fallback.modelstore.store import folder

    with _failing_politely():
        local = _local(config)
        name = model or local.model
        if model is None and name.endswith(".gguf"):
            typer.echo(f"local.model is a file of your own, {name}: nothing to pull.")
            return
        with _progress_shown() as progress:
            wanted = _wanted(name, endpoint)
            path = download.pull(
                wanted, folder(local.models_dir), progress=progress, endpoint=endpoint
            )
        typer.echo(f"{wanted.id} is here and whole: {path}")


@app.command()
def verify(
    model: Annotated[
        str | None,
        typer.Argument(
            help="An id of the catalog or the path of a GGUF file [the configured model]."
        ),
    ] = None,
    config: Config = None,
) -> None:
    """Check that a model file is, to the byte, what it should be. Exit code 1 if it is not."""
    from fallback.modelstore import catalog, locate
    from fallback.modelstore.verify import verify_file

    with _failing_politely():
        local = _local(config)
        if model and not model.endswith(".gguf"):
            catalog.find(model)
        located = locate(model or local.model, models_dir=local.models_dir)
        pinned = local.sha256 if model in (None, local.model) else None
        with _progress_shown() as progress:
            found = verify_file(located.path, sha256=pinned or located.sha256, progress=progress)
        typer.echo(str(found))
        if not found.ok and found.state != "unrecorded":
            typer.echo(_remedy(located.name), err=True)
            raise typer.Exit(1)


def _remedy(name: str) -> str:
    from fallback.modelstore.catalog import CATALOG

    if any(entry.id == name for entry in CATALOG):
        return f"To fetch it anew: fallback models pull {name}"
    return "Put the right file there; if this one is right, say so by local.sha256."


def _local(config: Path | None) -> Local:
    import os

    from fallback.config import load

    return load(config, os.environ).local


def _wanted(name: str, endpoint: str | None) -> ModelFile:
    from fallback.modelstore import catalog, hub

    if hub.is_hub_name(name):
        return hub.resolve(name, endpoint=endpoint)
    return catalog.find(name)


@contextmanager
def _failing_politely() -> Iterator[None]:
    """Turn what can be expected to go wrong into a message and exit code 1."""
    from fallback.core.errors import ConfigError
    from fallback.modelstore import ModelStoreError

    try:
        yield
    except (ModelStoreError, ConfigError, OSError) as error:
        typer.echo(f"fallback: {error}", err=True)
        raise typer.Exit(1) from None


@contextmanager
def _progress_shown() -> Iterator[Progress]:
    """A progress bar on a terminal; nothing in a log."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from fallback.modelstore.verify import no_progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield no_progress
        return
    columns = (TextColumn("{task.description:<11}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TransferSpeedColumn(), console=console, transient=True) as bars:
        bar = bars.add_task("", total=None)
        doing = ""

        def show(what: str, done: int, total: int) -> None:
            nonlocal doing
            if what != doing:
                doing = what
                bars.reset(bar, description=what)
            bars.update(bar, completed=done, total=total)

        yield show


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.0f} MB"
