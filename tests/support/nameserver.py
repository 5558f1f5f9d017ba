"""A name server on loopback that fails by the name asked for (RFC 1035, UDP only).

`*.nxdomain.test` does not exist, `*.servfail.test` fails, `*.silent.test` is never answered;
every other name is this machine.
"""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

_HEAD = struct.Struct(">6H")
_ANSWERS = 0x8400  # a response, authoritative
_A, _IN = 1, 1
_ADDRESS = b"\x7f\x00\x00\x01"
_RCODES = {"servfail": 2, "nxdomain": 3}


class NameServer:
    """Answers in a thread; a context manager. `queries` counts what came."""

    def __init__(self) -> None:
        self.queries = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            if not query:
                return
            self.queries += 1
            if (answer := respond(query)) is not None:
                self._socket.sendto(answer, client)


def respond(query: bytes) -> bytes | None:
    """The answer to a query of one question, or None for silence."""
    end = query.index(b"\0", _HEAD.size) + 5
    question = query[_HEAD.size : end]
    kind = _kind(question)
    if kind == "silent":
        return None
    rcode = _RCODES.get(kind, 0)
    found = rcode == 0 and struct.unpack(">HH", question[-4:]) == (_A, _IN)
    identity = _HEAD.unpack_from(query)[0]
    head = _HEAD.pack(identity, _ANSWERS | rcode, 1, int(found), 0, 0)
    return head + question + (_record() if found else b"")


def _kind(question: bytes) -> str:
    """The label before `test`."""
    labels, at = [], 0
    while size := question[at]:
        labels.append(question[at + 1 : at + 1 + size].decode("ascii").lower())
        at += 1 + size
    return labels[-2] if len(labels) > 1 and labels[-1] == "test" else ""


def _record() -> bytes:
    """One A record for the name that was asked (a pointer to it), for 60 s."""
    return b"\xc0\x0c" + struct.pack(">HHIH", _A, _IN, 60, len(_ADDRESS)) + _ADDRESS


def query(name: str, identity: int) -> bytes:
    """A recursive question for the A record of `name`."""
    labels = b"".join(bytes([len(label)]) + label.encode("ascii") for label in name.split("."))
    head = _HEAD.pack(identity, 0x0100, 1, 0, 0, 0)
    return head + labels + b"\0" + struct.pack(">HH", _A, _IN)


def outcome(answer: bytes) -> tuple[int, str | None]:
    """The code of a response, and the address in its first record if there is one."""
    _, flags, _, answers, _, _ = _HEAD.unpack_from(answer)
    address = socket.inet_ntoa(answer[-4:]) if answers else None
    return flags & 0xF, address
