"""Makes the receipt of a request that has ended, from what is known of it and what passed."""

from __future__ import annotations

from fallback.core.receipt import Body, Client, Said, canonical, digest, receipt_of
from fallback.core.record import FinishedRequest, Seen
from fallback.dialects.said import said
from fallback.storage.lines import Bodies, Line

_NOTHING = Said()
_OK = 200
_MAX_AGENT = 120


class ReceiptMaker:
    """`software` names this program; of a body at most `max_body_bytes` are kept."""

    def __init__(self, *, software: str, max_body_bytes: int) -> None:
        self._software = software
        self._max_body_bytes = max_body_bytes

    def __repr__(self) -> str:
        return f"<ReceiptMaker {self._software}>"

    def line(self, record: FinishedRequest, seen: Seen, *, keep_bodies: bool) -> Line:
        """What goes into the ledger."""
        told = _NOTHING
        if seen.answer is not None and record.operation == "generate" and record.status == _OK:
            told = said(record.dialect, seen.answer)
        receipt = receipt_of(
            record,
            request=None if seen.request is None else _body(seen.request),
            answer=_answer(seen, told) if record.status is not None else None,
            said=told,
            client=_client(seen),
            software=self._software,
        )
        bodies = self._bodies(seen) if keep_bodies else None
        return Line(canonical(receipt), receipt, bodies)

    def _bodies(self, seen: Seen) -> Bodies | None:
        if seen.request is None or seen.answer is None:
            return None
        if max(len(seen.request), len(seen.answer)) > self._max_body_bytes:
            return None
        return Bodies(seen.request, seen.answer)


def _body(content: bytes) -> Body:
    return Body(sha256=digest(content), size=len(content))


def _answer(seen: Seen, told: Said) -> Body:
    text = told.text
    return Body(
        sha256=seen.answer_sha256,
        size=seen.answer_size,
        text_sha256=None if text is None else digest(text.encode("utf-8", "surrogatepass")),
        text_size=None if text is None else len(text),
    )


def _client(seen: Seen) -> Client:
    headers = seen.headers
    agent, name = headers.get(b"user-agent"), headers.get(b"x-client-request-id")
    return Client(
        agent=None if agent is None else agent[:_MAX_AGENT].decode("latin-1"),
        credential=seen.credential or None,
        request_id=None if name is None else name[:_MAX_AGENT].decode("latin-1"),
    )
