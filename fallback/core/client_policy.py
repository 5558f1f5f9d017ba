"""What a client asks for in its `Fallback-Policy` header. Pure.

The field is a Dictionary of RFC 9651, such as
`tiers=(cloud local), first-byte=5, whole=30, hedge=?0, priority=3`. What of it is allowed is told
by `client.may` of the configuration. A client can leave tiers out and change their order, but
never add one that the rules exclude. Whatever is not allowed or not understood is refused: a wish
that is silently ignored would be worse than none.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any, Literal, NamedTuple, TypeAlias

import http_sf
import msgspec

from fallback.core.errors import BadRequest
from fallback.core.policy import Tier, Treatment
from fallback.core.units import Priority, Seconds

CLIENT_HEADER = b"fallback-policy"
ClientMember: TypeAlias = Literal["tiers", "deadlines", "hedge", "priority", "critical"]


class _Member(NamedTuple):
    """A member of the Dictionary; `field` is that of `Treatment`, or of its `Deadlines`."""

    allowed_by: ClientMember
    field: str
    kind: Any
    values: str


_SECONDS = "seconds above 0, at most 86400"
_MEMBERS = {
    "tiers": _Member("tiers", "tiers", tuple[Tier, ...], "a list such as (cloud alternate local)"),
    "connect": _Member("deadlines", "connect_s", Seconds, _SECONDS),
    "first-byte": _Member("deadlines", "first_byte_s", Seconds, _SECONDS),
    "first-content": _Member("deadlines", "first_content_s", Seconds, _SECONDS),
    "whole": _Member("deadlines", "whole_s", Seconds, _SECONDS),
    "stall": _Member("deadlines", "stall_s", Seconds, _SECONDS),
    "progress": _Member("deadlines", "progress_s", Seconds, _SECONDS),
    "local-first-content": _Member("deadlines", "local_first_content_s", Seconds, _SECONDS),
    "hedge": _Member("hedge", "hedge", bool | Seconds, f"?0, ?1, or {_SECONDS}"),
    "priority": _Member("priority", "priority", Priority, "an integer from -100 to 100"),
    "critical": _Member("critical", "critical", bool, "?0 or ?1"),
}


def as_asked(treatment: Treatment, value: bytes, may: Collection[ClientMember]) -> Treatment:
    """The treatment that the header's value asks for. Raises `BadRequest`, saying what is
    allowed."""
    changes: dict[str, Any] = {}
    deadlines: dict[str, float] = {}
    for name, item in _parsed(value).items():
        member = _MEMBERS.get(name)
        if member is None or member.allowed_by not in may:
            raise _refusal(f"{name!r} is not allowed here. {_allowed(may)}")
        fields = deadlines if member.allowed_by == "deadlines" else changes
        fields[member.field] = _read(name, item, member)
    if "tiers" in changes:
        changes |= _chosen(treatment, changes["tiers"])
    if deadlines:
        changes["deadlines"] = msgspec.structs.replace(treatment.deadlines, **deadlines)
    return msgspec.structs.replace(treatment, **changes)


def _parsed(value: bytes) -> dict[str, Any]:
    """The members' values as plain types, without their parameters."""
    try:
        members: Any = http_sf.parse(value, tltype="dictionary")
    except http_sf.StructuredFieldError as error:
        raise _refusal(f"it is no RFC 9651 Dictionary: {error}.") from error
    return {name: _plain(item) for name, (item, _) in members.items()}


def _plain(item: Any) -> Any:
    if isinstance(item, list):
        return [str(inner) for inner, _ in item]
    return float(item) if isinstance(item, Decimal) else item


def _read(name: str, item: Any, member: _Member) -> Any:
    try:
        return msgspec.convert(item, member.kind)
    except msgspec.ValidationError as error:
        raise _refusal(f"{name!r} has to be {member.values}.") from error


def _chosen(treatment: Treatment, asked: tuple[Tier, ...]) -> dict[str, Any]:
    tiers = tuple(tier for tier in dict.fromkeys(asked) if tier in treatment.tiers)
    if not tiers:
        let = ", ".join(treatment.tiers) or "none"
        raise _refusal(f"none of its tiers may answer this request. Allowed: {let}.")
    reason = treatment.local_reason
    if "local" not in asked:
        reason = reason or "The request's Fallback-Policy leaves the local tier out."
    return {"tiers": tiers, "local_reason": reason}


def _allowed(may: Collection[ClientMember]) -> str:
    names = ", ".join(name for name, member in _MEMBERS.items() if member.allowed_by in may)
    if names:
        return f"Allowed: {names}."
    return "The operator allows nothing (client.may is empty): send the request without it."


def _refusal(problem: str) -> BadRequest:
    return BadRequest(f"The header Fallback-Policy is not valid: {problem}", should_retry=False)
