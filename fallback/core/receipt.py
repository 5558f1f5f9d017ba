"""The receipt of one answered request, and the chain of all of them. Pure.

Rules of this file:
- What is signed and hashed is the canonical JSON of RFC 8785: no white space, members sorted. It
  comes about by construction: members are declared in alphabetical order and have ASCII names,
  numbers are integers (times in microseconds), so that any JSON library that sorts its members
  writes the same bytes again.
- No receipt holds content: of a request and its answer only sizes and SHA-256 hashes.
- A receipt is bound into the chain by an *entry*, which has its number and the hash of the entry
  before: what is changed or taken out later shows in the entry that follows, and at the end of
  the chain in a signed *checkpoint*. What could not be written is an entry too, a `Gap`.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal, TypeAlias

import msgspec

from fallback.core.provenance import Attempt, Segment
from fallback.core.record import FinishedRequest

Kind: TypeAlias = Literal["gap", "receipt"]

GENESIS = "0" * 64
"""The hash before the first entry."""

_MAX_TEXT = 200


class Body(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What passed, as it passed: `size` in bytes, their hash in hexadecimal digits. Of an answer
    also the hash of its text alone in UTF-8 (`text_size` in characters), where it could be read:
    an application seldom has more than that."""

    sha256: str
    size: int
    text_sha256: str | None = None
    text_size: int | None = None


class Client(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`agent` is the `User-Agent`, `credential` a digest that tells keys apart, `request_id` the
    client's own name for the request."""

    agent: str | None = None
    credential: str | None = None
    request_id: str | None = None


class Served(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The model that answered. `sha256` is its file's, where that is on this machine, and
    `engine` what ran it."""

    context_tokens: int | None = None
    engine: str | None = None
    name: str
    quantization: str | None = None
    requantized_from: str | None = None
    sha256: str | None = None


class Tried(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt at an upstream; `request_id` is the provider's."""

    duration_us: int
    error_type: str | None = None
    outcome: str
    request_id: str | None = None
    status: int | None = None
    upstream: str


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer says of itself: its text, its id, its model, its tokens."""

    text: str | None = None
    id: str | None = None
    model: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None


class Tokens(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """As the answer tells them, by the vocabulary of the model that answered."""

    cached: int | None = None
    input: int | None = None
    output: int | None = None


class Shortened(msgspec.Struct, frozen=True, kw_only=True):
    """What fitting took away: how many of what, and how many tokens that were."""

    count: int
    tokens: int
    what: str


class Spoke(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who speaks from the character `from_char` of the answer's text on, and why."""

    from_char: int
    model: str | None = None
    output_tokens: int | None = None
    reason: str | None = None
    tier: str


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who answered one request, with what, and why.

    Times are microseconds: `started_us` since 1970, the others from then on. `ended`: as of
    `FinishedRequest`, or `killed` where the service died before it could know. `answer_id` is the
    answer's own id, `software` who wrote this, `stale_of` the receipt of an answer that was given
    again.
    """

    answer: Body | None = None
    answer_id: str | None = None
    attempts: tuple[Tried, ...] = ()
    client: Client | None = None
    cut: tuple[Shortened, ...] = ()
    detail: str | None = None
    dialect: str | None = None
    duration_us: int | None = None
    ended: Literal["complete", "broken", "client-gone", "killed"]
    first_content_us: int | None = None
    id: str
    loosened: tuple[str, ...] = ()
    method: str | None = None
    operation: str | None = None
    outage: str | None = None
    path: str | None = None
    reason: str | None = None
    request: Body | None = None
    requested_model: str | None = None
    segments: tuple[Spoke, ...] = ()
    served_model: Served | None = None
    software: str
    stale_of: str | None = None
    started_us: int
    status: int | None = None
    tier: str | None = None
    tokens: Tokens | None = None
    upstream: str | None = None


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """Receipts that could not be kept: how many, of requests from when to when, and why."""

    from_us: int
    lost: int
    software: str
    until_us: int
    why: str


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed from time to time: how far the chain had come. `hash` is that of the entry
    `seq`; `lost` receipts are missing up to there."""

    at_us: int
    hash: str
    lost: int
    seq: int


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt for somebody who asks, as JSON types. The rest is None while it is not in the
    chain: its number there, the hash before it, and the entry as a signed JWS."""

    receipt: Any
    seq: int | None = None
    previous: str | None = None
    jws: str | None = None


_encode = msgspec.json.Encoder().encode


def canonical(value: Receipt | Gap | Checkpoint) -> bytes:
    """As RFC 8785 has it."""
    return _encode(value)


# By kind, since the members are sorted.
_ENTRIES = {
    "gap": b'{"gap":%(content)s,"previous":"%(previous)s","seq":%(seq)d}',
    "receipt": b'{"previous":"%(previous)s","receipt":%(content)s,"seq":%(seq)d}',
}


def entry(seq: int, previous: str, kind: Kind, content: bytes) -> bytes:
    """One link of the chain in canonical JSON, of what `canonical` gave. `previous` is the hash of
    the entry before it, or `GENESIS`."""
    return _ENTRIES[kind] % {b"content": content, b"previous": previous.encode(), b"seq": seq}


def digest(content: bytes) -> str:
    """SHA-256 in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def receipt_of(
    record: FinishedRequest,
    *,
    request: Body | None,
    answer: Body | None,
    said: Said,
    client: Client | None,
    software: str,
) -> Receipt:
    """The receipt of a request that has ended."""
    provenance = record.provenance
    return Receipt(
        answer=answer,
        answer_id=_short(said.id),
        attempts=tuple(map(_tried, provenance.attempts)),
        client=client,
        cut=tuple(
            Shortened(count=cut.count, tokens=cut.tokens, what=cut.what) for cut in provenance.cuts
        ),
        detail=_short(record.detail),
        dialect=record.dialect,
        duration_us=_us(record.duration_s),
        ended=record.ended,
        first_content_us=_us(record.first_content_s),
        id=provenance.receipt,
        loosened=provenance.loosened,
        method=record.method,
        operation=record.operation,
        outage=provenance.outage,
        path=_short(record.path),
        reason=provenance.reason,
        request=request,
        requested_model=_short(provenance.requested_model),
        segments=tuple(map(_spoke, provenance.segments)),
        served_model=_served(record, said),
        software=software,
        stale_of=provenance.stale_of,
        started_us=us(record.started),
        status=record.status,
        tier=provenance.tier,
        tokens=_tokens(said),
        upstream=provenance.upstream,
    )


def begun(id: str, started: float, method: str, path: str, software: str) -> bytes:
    """The receipt, in canonical JSON, of a request of which only the beginning is known."""
    receipt = Receipt(
        ended="killed",
        id=id,
        method=method,
        path=path[:_MAX_TEXT],
        software=software,
        started_us=us(started),
    )
    return canonical(receipt)


def unsigned(record: FinishedRequest) -> Any:
    """What can be told of a request that no receipt is kept of, as JSON types."""
    receipt = receipt_of(
        record, request=None, answer=None, said=Said(), client=None, software="fallback"
    )
    return msgspec.to_builtins(receipt)


def us(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * 1e6)


def _us(seconds: float | None) -> int | None:
    return None if seconds is None else us(seconds)


def _short(text: str | None) -> str | None:
    return text[:_MAX_TEXT] if text else None


def _tried(attempt: Attempt) -> Tried:
    facts = attempt.outcome.facts
    return Tried(
        duration_us=us(facts.duration_s),
        error_type=_short(facts.error_type),
        outcome=attempt.outcome.reason,
        request_id=_short(facts.request_id),
        status=facts.status,
        upstream=attempt.upstream,
    )


def _spoke(segment: Segment) -> Spoke:
    return Spoke(
        from_char=segment.from_char,
        model=_short(segment.model),
        output_tokens=segment.output_tokens,
        reason=segment.reason,
        tier=segment.tier,
    )


def _served(record: FinishedRequest, said: Said) -> Served | None:
    model = record.provenance.model
    if model is None:
        return Served(name=said.model[:_MAX_TEXT]) if said.model else None
    return Served(
        context_tokens=model.context_tokens,
        engine=model.engine,
        name=model.name[:_MAX_TEXT],
        quantization=model.quantization,
        requantized_from=model.requantized_from,
        sha256=model.sha256,
    )


def _tokens(said: Said) -> Tokens | None:
    if said.input_tokens is None and said.output_tokens is None:
        return None
    return Tokens(cached=said.cached_tokens, input=said.input_tokens, output=said.output_tokens)
