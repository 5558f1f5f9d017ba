"""uvicorn, set up for the data plane: httptools, uvloop where there is one, no added headers."""

from __future__ import annotations

import logging
import socket

import uvicorn

from fallback.core.errors import ConfigError
from fallback.web.app import AsgiApp

_BACKLOG = 2048


class _Announcing(uvicorn.Server):
    """Says where it listens, once it accepts."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listening in sockets or ():
            host, port = listening.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"listening on http://{shown}:{port}", flush=True)  # noqa: T201 - the CLI's


def listen(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one. Raises `ConfigError` if the address is taken or
    is none of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"cannot listen on {host}, port {port}: {error.strerror or error}. "
            f"Is fallback running already? Another port: fallback serve --port 8485"
        ) from error


def run(app: AsgiApp, listening: socket.socket, *, max_connections: int) -> None:
    """Serve until a signal; answers under way get 30 s to end. Over `max_connections` at once
    the next are answered 503."""
    log = logging.getLogger("uvicorn.error")
    # An answer that is aborted on purpose is no error of the server's, and a refused upgrade
    # (Codex asks for one at each start) no reason for a warning.
    log.setLevel(logging.ERROR)
    log.addFilter(lambda record: "without completing response" not in record.getMessage())
    config = uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        limit_concurrency=max_connections,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
    )
    _Announcing(config).run(sockets=[listening])
