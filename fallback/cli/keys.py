"""`fallback keys`: the keys that receipts are signed with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fallback.cli.printing import fail

if TYPE_CHECKING:
    from fallback.storage.keys import Keyring

app = typer.Typer(
    help="The keys that receipts are signed with: list, rotate.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Config = Annotated[
    Path | None,
    typer.Option(envvar="FALLBACK_CONFIG", help="TOML file; its receipts.keys counts."),
]


@app.command("list")
def list_keys(config: Config = None) -> None:
    """Print the public keys as a JWK Set, the one that signs first."""
    from fallback.storage.errors import StorageError

    try:
        typer.echo(json.dumps(_keyring(config).public(), indent=2))
    except StorageError as error:
        fail(str(error))


@app.command()
def rotate(config: Config = None) -> None:
    """Make a new key, which signs from now on. The old ones stay, for what they signed."""
    from fallback.storage.errors import StorageError

    try:
        typer.echo(f"{_keyring(config).rotate()} signs from now on.")
    except StorageError as error:
        fail(str(error))


def _keyring(config: Path | None) -> Keyring:
    from fallback.config import load
    from fallback.core.errors import ConfigError
    from fallback.storage.keys import Keyring
    from fallback.storage.place import database_place, keys_folder

    try:
        settings = load(config, os.environ)
    except ConfigError as error:
        fail(str(error))
    place = database_place(settings.storage.path, settings.storage.url)
    return Keyring(keys_folder(settings.receipts.keys, place))
