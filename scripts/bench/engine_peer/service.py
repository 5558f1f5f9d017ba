"""Our service with an engine whose settings are given in full: `WorkerSettings` as JSON in argv[2].

The operator's file has not all of them, for a good default is better than a knob; to compare
like with like they are needed. Everything else is as `fallback serve` has it, without a cloud.
"""

import logging
import os
import sys
from pathlib import Path

import msgspec

from fallback.bootstrap import Service
from fallback.config import load
from fallback.local.engine import LocalEngine
from fallback.local.settings import WorkerSettings
from fallback.telemetry.log import log_engine
from fallback.web.server import listen, run


def main() -> None:
    """Serve until told to stop."""
    port = int(sys.argv[1])
    logging.basicConfig(format="%(name)s: %(message)s")
    logging.getLogger("fallback").setLevel(logging.INFO)
    settings = load(Path(os.environ["FALLBACK_CONFIG"]), os.environ)
    engine = LocalEngine(
        msgspec.json.decode(sys.argv[2], type=WorkerSettings),
        environment=os.environ,
        on_change=log_engine,
    )
    service = Service(settings, os.environ, engine=engine)
    engine_only = listen("127.0.0.1", port)
    run(service.app, engine_only, max_connections=settings.server.max_connections)


if __name__ == "__main__":
    main()
