"""uvicorn, set up for the data plane: httptools, uvloop where there is one, no added headers."""

from __future__ import annotations

import logging
import socket

import uvicorn

from fallback.web.app import AsgiApp


class _Announcing(uvicorn.Server):
    """Says where it listens, once it accepts."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                print(f"listening on http://{shown}:{port}", flush=True)  # noqa: T201 - the CLI's


def run(app: AsgiApp, *, host: str, port: int, max_connections: int) -> None:
    """Serve until a signal; answers under way get 30 s to end. Over `max_connections` at once
    the next are answered 503. Exits with a message if the address cannot be bound."""
    # An answer that is aborted on purpose is no error of the server's.
    logging.getLogger("uvicorn.error").addFilter(
        lambda record: "without completing response" not in record.getMessage()
    )
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=False,
        limit_concurrency=max_connections,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=30,
    )
    _Announcing(config).run()
