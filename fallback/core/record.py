"""What is known about a request when it has ended: one frozen record for all observers."""

from __future__ import annotations

from typing import Literal

import msgspec

from fallback.core.provenance import Provenance


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
