"""What is on its way into the ledger."""

from __future__ import annotations

from typing import NamedTuple

from fallback.core.receipt import Receipt


class Bodies(NamedTuple):
    """What was asked and answered, where it is kept."""

    request: bytes
    answer: bytes


class Line(NamedTuple):
    """A receipt, and as the canonical JSON that it is hashed as."""

    content: bytes
    receipt: Receipt
    bodies: Bodies | None = None
