"""Who answered, with what, asked for what, and why: in headers and in bodies.

Sources: RFC 9209 (`Proxy-Status`), RFC 9110 section 7.6.3 (`Via`), RFC 9651 (Structured Fields;
`LLM-Provenance` is a Dictionary). All strings are cut to printable ASCII, as RFC 9651 asks.
"""

from __future__ import annotations

from typing import Any

import http_sf
import msgspec
from http_sf import Token

from fallback.core.answer import Cut
from fallback.core.outcome import Outcome, proxy_status_error
from fallback.core.ports import ModelIdentity

Headers = list[tuple[bytes, bytes]]


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at an upstream, as told to others."""

    upstream: str
    outcome: Outcome


class Segment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who speaks from the character `from_char` of the answer's text on, and why.

    `output_tokens` are those of this segment alone, where they are known before the answer's
    end; `estimated` if they were reckoned from its length.
    """

    from_char: int
    tier: str
    model: str | None = None
    reason: str | None = None
    output_tokens: int | None = None
    estimated: bool = False


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """The origin of one answer. `receipt` names its record; `upstream` is the one that
    answered (cloud) or was meant (local, error). `segments` only where several models spoke, and
    then `tier` is `spliced` and `model` the one that went on. `loosened`: what the client's schemas
    ask for and the answer was not held to, in words. `stale_of`: the receipt of the earlier request
    whose answer this is."""

    receipt: str
    tier: str
    upstream: str
    reason: str
    requested_model: str | None = None
    model: ModelIdentity | None = None
    outage: str | None = None
    stale_of: str | None = None
    cuts: tuple[Cut, ...] = ()
    loosened: tuple[str, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    segments: tuple[Segment, ...] = ()


def body(provenance: Provenance) -> dict[str, Any]:
    """The `provenance` object of an answer's body (JSON types only)."""
    fields: dict[str, Any] = {
        "receipt": provenance.receipt,
        "tier": provenance.tier,
        "upstream": provenance.upstream,
        "reason": provenance.reason,
    }
    if provenance.requested_model is not None:
        fields["requested_model"] = provenance.requested_model
    if provenance.model is not None:
        fields["model"] = _model_body(provenance.model)
    if provenance.outage is not None:
        fields["outage"] = provenance.outage
    if provenance.stale_of is not None:
        fields["stale_of"] = provenance.stale_of
    if provenance.cuts:
        fields["cut"] = msgspec.to_builtins(provenance.cuts)
    if provenance.loosened:
        fields["loosened"] = list(provenance.loosened)
    if provenance.attempts:
        fields["attempts"] = [_attempt_body(attempt) for attempt in provenance.attempts]
    if provenance.segments:
        fields["segments"] = msgspec.to_builtins(provenance.segments)
    return fields


def _model_body(model: ModelIdentity) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(model)
    if model.requantized_from is None:
        del fields["requantized_from"]
    return fields


def _attempt_body(attempt: Attempt) -> dict[str, Any]:
    facts = attempt.outcome.facts
    fields: dict[str, Any] = {
        "upstream": attempt.upstream,
        "outcome": attempt.outcome.reason,
        "duration_s": round(facts.duration_s, 3),
    }
    if facts.status is not None:
        fields["status"] = facts.status
    if facts.error_type is not None:
        fields["error_type"] = facts.error_type
    return fields


def headers(provenance: Provenance, *, proxy: str) -> Headers:
    """`LLM-Provenance`, `Proxy-Status` and `Via` of an answer that is not the cloud's."""
    return [
        (b"llm-provenance", _dictionary(provenance).encode("ascii")),
        (b"proxy-status", _proxy_status(provenance, proxy).encode("ascii")),
        (b"via", f"1.1 {proxy}".encode("ascii")),
    ]


def _dictionary(provenance: Provenance) -> str:
    fields: dict[str, Any] = {
        "tier": Token(provenance.tier),
        "reason": Token(provenance.reason),
        "upstream": _ascii(provenance.upstream),
    }
    if provenance.requested_model is not None:
        fields["requested-model"] = _ascii(provenance.requested_model)
    if (model := provenance.model) is not None:
        fields["model"] = _ascii(model.name)
        if model.sha256 is not None:
            fields["model-sha256"] = model.sha256
        fields["quantization"] = _ascii(model.quantization)
        if model.requantized_from is not None:
            fields["requantized-from"] = _ascii(model.requantized_from)
    if provenance.outage is not None:
        fields["outage"] = provenance.outage
    if provenance.stale_of is not None:
        fields["stale-of"] = provenance.stale_of
    if provenance.cuts:
        fields["cut"] = ([(Token(cut.what), {"n": cut.count}) for cut in provenance.cuts], {})
    if provenance.loosened:
        fields["loosened"] = len(provenance.loosened)
    fields["receipt"] = provenance.receipt
    return str(http_sf.ser(fields))


def _proxy_status(provenance: Provenance, proxy: str) -> str:
    """Our member alone; the outcome of the last attempt explains why we answered."""
    params: dict[str, Any] = {}
    if provenance.attempts:
        last = provenance.attempts[-1]
        params["next-hop"] = _ascii(last.upstream)
        if (error := proxy_status_error(last.outcome.facts)) is not None:
            params["error"] = Token(error)
        if last.outcome.facts.status is not None:
            params["received-status"] = last.outcome.facts.status
    params["details"] = _ascii(provenance.reason)
    return str(http_sf.ser([(Token(proxy), params)]))


def own_headers(reason: str, *, proxy: str) -> Headers:
    """The same of an answer that is no model's and no upstream's: a refusal at the door.
    `reason` is a token of ours."""
    return [
        (b"llm-provenance", f"tier=none, reason={reason}".encode("ascii")),
        (b"proxy-status", f'{proxy}; details="{reason}"'.encode("ascii")),
        (b"via", f"1.1 {proxy}".encode("ascii")),
    ]


def cloud_headers(
    upstream: str, status: int, receipt: str, existing: bytes | None, proxy: str
) -> Headers:
    """The same three for the cloud's own answer, composed without a serialiser: it is the
    healthy path. `upstream` and `proxy` are names from the configuration, valid as RFC 9651
    tokens and strings; `existing` is the upstream's own `Proxy-Status`, which is kept."""
    member = f'{proxy}; next-hop="{upstream}"; received-status={status}'.encode("ascii")
    if existing:
        member = existing + b", " + member
    provenance = f'tier=cloud, upstream="{upstream}", receipt="{receipt}"'.encode("ascii")
    return [
        (b"llm-provenance", provenance),
        (b"proxy-status", member),
        (b"via", f"1.1 {proxy}".encode("ascii")),
    ]


def _ascii(text: str) -> str:
    return "".join(c if " " <= c <= "~" else "?" for c in text[:256])
