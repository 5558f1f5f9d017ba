"""`fallback status --line`: one line for a shell's prompt or an agent's status line.

It is asked for at every prompt, so it imports next to nothing: the whole command takes less than
50 ms, most of it Python's own start. The service words the line (`core.status_line`).
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence

_URL = "http://127.0.0.1:8484"
_PATIENCE_S = 0.3
_MOST_BYTES = 4096


def show(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    """Print it; 1 if something is not well. `arguments` may name a `--url`."""
    url = environ.get("FALLBACK_URL") or _URL
    if len(arguments) == 2 and arguments[0] == "--url":
        url = arguments[1]
    elif arguments:
        print("usage: fallback status --line [--url URL]", file=sys.stderr)  # noqa: T201
        return 2
    well, text = _ask(url)
    print(text)  # noqa: T201 - it is what was asked for
    return 0 if well else 1


def _ask(url: str) -> tuple[bool, str]:
    scheme, _, rest = url.partition("://")
    host, _, port = rest.partition("/")[0].rpartition(":")
    try:
        if scheme != "http":
            raise ValueError(f"only http:// can be asked, not {url}")
        address = (host.strip("[]"), int(port))
        with socket.create_connection(address, _PATIENCE_S) as connection:
            head = f"GET /fallback/line HTTP/1.0\r\nHost: {host}:{port}\r\n\r\n"
            connection.sendall(head.encode())
            answer = _all_of(connection)
    except (OSError, ValueError) as error:
        return False, f"fallback does not answer at {url}: {error}"
    head_bytes, _, body = answer.partition(b"\r\n\r\n")
    status = head_bytes.partition(b" ")[2][:3]
    if status not in (b"200", b"503"):
        return False, f"fallback does not answer at {url}"
    return status == b"200", body.decode(errors="replace").strip()


def _all_of(connection: socket.socket) -> bytes:
    answer = b""
    while len(answer) < _MOST_BYTES and (part := connection.recv(_MOST_BYTES)):
        answer += part
    return answer
