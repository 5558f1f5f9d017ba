"""`python -m standin --port 8485`: both clouds on one port, until killed."""

from __future__ import annotations

import argparse
import threading

from standin.server import StandIn


def main() -> None:
    parser = argparse.ArgumentParser(prog="standin", description=__doc__)
    parser.add_argument("--port", type=int, default=None, help="a free one unless given")
    with StandIn(parser.parse_args().port) as clouds:
        print(f"listening on {clouds.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
