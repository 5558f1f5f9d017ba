"""A request that passed to the cloud, as those see it who get ready for the cloud's failing. Pure.

Nothing is parsed: a body may hold a megabyte, and most will never be needed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec

_SESSION_HEADERS = (
    b"x-claude-code-session-id",  # Claude Code
    b"thread-id",  # Codex
    b"session-id",
    b"session_id",
    b"x-session-id",
    b"x-conversation-id",
)
_BEGINNING_BYTES = 256


class Strain(NamedTuple):
    """What requests of one conversation have in common, and few others: what the client says of
    its session, and how the body begins (the model, an application's system prompt or the first
    words). Several conversations may share it: agents of one session, chats of one application.
    """

    dialect: str
    session: bytes
    beginning: bytes


class Passed(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A request for an answer: its body as it came, in `coding` (None: plain)."""

    strain: Strain
    body: bytes
    coding: str | None = None


def passed(dialect: str, headers: Mapping[bytes, bytes], body: bytes, coding: str | None) -> Passed:
    """A request with these headers, their names in lower case."""
    told = next((headers[name] for name in _SESSION_HEADERS if name in headers), b"")
    # How a compressed body begins says nothing of what is in it.
    beginning = b"" if coding else body[:_BEGINNING_BYTES]
    return Passed(strain=Strain(dialect, told, beginning), body=body, coding=coding)
