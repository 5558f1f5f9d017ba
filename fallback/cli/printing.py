"""What commands print alike."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

import typer

if TYPE_CHECKING:
    from rich.table import Table


def print_table(table: Table) -> None:
    """For a person or a pipe."""
    from rich.console import Console

    # What is piped is for programs: its lines are not to be folded.
    width = None if sys.stdout.isatty() else 250
    Console(highlight=False, markup=False, emoji=False, width=width).print(table)


def fail(message: str) -> NoReturn:
    """Say why, and end with exit code 1."""
    typer.echo(f"fallback: {message}", err=True)
    raise typer.Exit(1)
