"""Receipts to keep."""

from __future__ import annotations

from fallback.core.receipt import Body, Receipt, canonical, digest
from fallback.storage.lines import Bodies, Line

START_US = 1_773_000_000_000_000


def receipt(number: int, *, answer: str = "Hello.") -> Receipt:
    """The one of the request `number`, a second after the one before."""
    return Receipt(
        answer=Body(
            sha256=digest(b"the whole body: " + answer.encode()),
            size=16 + len(answer.encode()),
            text_sha256=digest(answer.encode()),
            text_size=len(answer),
        ),
        dialect="anthropic",
        duration_us=1000,
        ended="complete",
        id=f"rcp_{number:020x}",
        method="POST",
        path="/v1/messages",
        reason="ok",
        requested_model="claude",
        software="fallback test",
        started_us=START_US + number * 1_000_000,
        status=200,
        tier="cloud",
        upstream="anthropic",
    )


def line(number: int, *, answer: str = "Hello.", bodies: Bodies | None = None) -> Line:
    """The same on its way into the ledger."""
    made = receipt(number, answer=answer)
    return Line(canonical(made), made, bodies)


def lines(first: int, last: int) -> list[Line]:
    """Several, `last` included."""
    return [line(number) for number in range(first, last + 1)]
