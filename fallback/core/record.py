"""What is known about a request when it has ended: one frozen record for all observers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from fallback.core.provenance import Provenance


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What passed between client and us. `headers` are the client's, `credential` a digest of its
    key; `request` is its body where that was read whole, `answer` ours without any coding where it
    was not too long to keep. Hash in hexadecimal digits and size are those of what was sent,
    `answer_type` its `Content-Type`."""

    headers: Mapping[bytes, bytes]
    credential: str
    request: bytes | None
    answer: bytes | None
    answer_sha256: str
    answer_type: str
    answer_size: int


class FinishedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`status` is what the client got, None if it left before. `ended`: `complete` (a whole,
    well-formed answer, be it an error), `broken` (an answer that was told to be broken) or
    `client-gone`. `started` is Unix time; durations are seconds, `first_content_s`
    from the start to the first content that the client got. `canary`: it was let through to see
    whether the upstream is back.
    """

    provenance: Provenance
    method: str
    path: str
    dialect: str
    operation: str
    status: int | None
    ended: Literal["complete", "broken", "client-gone"]
    started: float
    duration_s: float
    first_content_s: float | None = None
    canary: bool = False
    detail: str | None = None


class Books(Protocol):
    """Who keeps a receipt of each request. Neither call waits for anything, nor raises."""

    def begun(self, id: str, started: float, method: str, path: str) -> None:
        """A request has come in; `started` in Unix seconds."""
        ...

    def finished(self, record: FinishedRequest, seen: Seen, *, keep_bodies: bool) -> None:
        """It has ended."""
        ...
