"""`fallback env`: the exports that point a client at this service."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Client(StrEnum):
    """The clients that are known by name."""

    claude_code = "claude-code"
    codex = "codex"
    anthropic = "anthropic"
    openai = "openai"


def env(
    client: Annotated[Client, typer.Argument(help="Which client to point here.")],
    url: Annotated[
        str, typer.Option(envvar="FALLBACK_URL", help="Where the service listens.")
    ] = "http://127.0.0.1:8484",
) -> None:
    """Print the exports for a client; use it as: eval "$(fallback env claude-code)"."""
    for line in lines(client, url.rstrip("/")):
        typer.echo(line)


def lines(client: Client, url: str) -> list[str]:
    """Shell lines, comments included."""
    if client in (Client.claude_code, Client.anthropic):
        return [f"export ANTHROPIC_BASE_URL={url}"]
    if client is Client.openai:
        return [f"export OPENAI_BASE_URL={url}/v1"]
    return [
        f"export OPENAI_BASE_URL={url}/v1",
        "# Codex signed in with ChatGPT needs it in ~/.codex/config.toml instead:",
        f'#   openai_base_url = "{url}/v1"',
    ]
