"""`fallback serve`: run the service."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 takes a free one [8484].")] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="FALLBACK_CONFIG",
            help="TOML file; scripts/fallback.example.toml shows every key.",
        ),
    ] = None,
) -> None:
    """Run the service until it is stopped.

    Every key of the config file can also be set in the environment, for example
    FALLBACK_SERVER__PORT=9000 or FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL=https://...
    """
    import logging

    from fallback.bootstrap import Service
    from fallback.config import load
    from fallback.core.errors import ConfigError
    from fallback.web.server import listen, run

    try:
        settings = load(config, os.environ, {"server.host": host, "server.port": port})
        server = settings.server
        listening = listen(server.host, server.port)
        service = Service(settings, os.environ)
    except ConfigError as error:
        typer.echo(f"fallback: {error}", err=True)
        raise typer.Exit(2) from None
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("fallback").setLevel(settings.log.level.upper())
    for name, upstream in settings.upstreams.items():
        typer.echo(f"{name} -> {upstream.base_url}")
    local = settings.local
    remote = local.remote.url if local.remote else ""
    places = {"on": local.model, "off": "off", "remote": remote}
    typer.echo(f"local -> {places[local.mode]}")
    run(service.app, listening, max_connections=server.max_connections)
