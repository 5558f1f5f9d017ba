"""A package index and a model hub on loopback, as far as pip and the hub's client ask."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

GGUF = b"GGUF\x03\x00\x00\x00" + bytes(range(256)) * 4096
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Sources(ThreadingHTTPServer):
    """Serves `files` by path; `promised` overrides the hash that the hub states for a path."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.promised: dict[str, str] = {}
        self.requests: list[str] = []

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def add_wheel(self, wheel: Path) -> None:
        """Put a wheel into the simple index under `/simple`."""
        project = wheel.name.split("-")[0].replace("_", "-")
        link = f'<a href="/files/{wheel.name}">{wheel.name}</a>'
        self.files[f"/simple/{project}/"] = link.encode()
        self.files[f"/files/{wheel.name}"] = wheel.read_bytes()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Sources
    types: ClassVar = {True: "text/html", False: "application/octet-stream"}

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        body = self.server.files.get(self.path)
        self.send_response(200 if body is not None else 404)
        if body is not None and "/resolve/" in self.path:
            sha256 = self.server.promised.get(self.path, hashlib.sha256(body).hexdigest())
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{sha256}"')
        self.send_header("Content-Type", self.types[self.path.startswith("/simple/")])
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        if with_body:
            self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving() -> Iterator[Sources]:
    """A server that runs while the block does."""
    with Sources() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def make_wheel(folder: Path, member: str, content: bytes) -> Path:
    """A wheel `tiny-model` 1.0 that holds one file."""
    wheel = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(member, content)
        info = "tiny_model-1.0.dist-info"
        packed.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0")
        packed.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        packed.writestr(f"{info}/RECORD", "")
    return wheel
