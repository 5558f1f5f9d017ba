"""The cloud stand-in: answers at once with prebuilt bytes, on a plain and on a TLS port.

A process of its own (`listening` starts it): it writes its CA to DIRECTORY/ca.pem and says where
it listens in one line of JSON on stdout. It ends when its stdin is closed, so it outlives nobody.

It stays on asyncio's own loop on purpose: that one sends each event in a system call of its own at
once, as a cloud would, where uvloop joins what is written in one turn of the loop.
"""

import asyncio
import json
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httptools
import trustme

from healthy_path import payloads


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """Where the stand-in listens on 127.0.0.1, and the CA to trust on its TLS port."""

    plain_port: int
    tls_port: int
    ca_file: Path
    process: subprocess.Popen[bytes]

    def end(self) -> None:
        """It is gone, and whoever asks is refused from now on."""
        self.process.kill()
        self.process.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.plain_port}"

    @property
    def tls_url(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"


@contextmanager
def listening(directory: Path) -> Iterator[Upstream]:
    """Runs the stand-in on the caller's cores; its CA goes into the directory."""
    with subprocess.Popen(
        (sys.executable, "-m", __name__, str(directory)),
        cwd=Path(__file__).parents[1],
        stdin=subprocess.PIPE,
        start_new_session=True,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        with process.stdin:
            ports = json.loads(process.stdout.readline())
            yield Upstream(**ports, ca_file=directory / "ca.pem", process=process)


_BURSTS = {path: answers.burst() for path, answers in payloads.ANSWERS.items()}


class _Connection(asyncio.Protocol):
    """One client's connection; requests on it come one after the other."""

    _transport: asyncio.Transport

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._body = []

    def on_url(self, url: bytes) -> None:
        self._url = url

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        path, body = self._url.partition(b"?")[0], b"".join(self._body)
        if path not in payloads.ANSWERS:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
        elif payloads.BURST.encode() in body:
            self._transport.write(payloads.ANSWER_HEAD_SSE)
            for event in _BURSTS[path]:
                self._transport.write(event)
        elif payloads.PACED.encode() in body:
            _PacedStream(self._transport, payloads.ANSWERS[path]).start()
        else:
            self._transport.write(payloads.ANSWERS[path].whole)


class _PacedStream:
    """Events at a steady rate, the next one due a period after the last one was due."""

    def __init__(self, transport: asyncio.Transport, answers: payloads.Answers) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport = transport
        self._answers = answers
        self._left = payloads.PACED_MARKS
        self._due = self._loop.time()

    def start(self) -> None:
        self._transport.write(payloads.ANSWER_HEAD_SSE + b"".join(self._answers.opening))
        self._tick()

    def _tick(self) -> None:
        if self._transport.is_closing():
            return
        if not self._left:
            self._transport.write(b"".join(self._answers.closing) + payloads.LAST_CHUNK)
            return
        self._left -= 1
        self._transport.write(self._answers.tick)
        self._due += 1 / payloads.PACED_EVENTS_PER_S
        self._loop.call_at(self._due, self._tick)


def _server_tls(directory: Path) -> ssl.SSLContext:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(directory / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


async def _serve(directory: Path) -> None:
    loop = asyncio.get_running_loop()
    plain = await loop.create_server(_Connection, "127.0.0.1", 0)
    tls = await loop.create_server(_Connection, "127.0.0.1", 0, ssl=_server_tls(directory))
    print(json.dumps({"plain_port": _port(plain), "tls_port": _port(tls)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1])))
