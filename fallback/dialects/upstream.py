"""What the dialects share in reading an upstream's answers: error bodies and stream events.

Nothing here raises: an upstream in trouble may send anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fallback.dialects.base import ErrorFacts, Mark
from fallback.dialects.jsonvalues import mapping, optional_string, parse, string
from fallback.dialects.sse import event_data

DONE_DATA = b"[DONE]"
_NAME_CHARS = 100
_MESSAGE_CHARS = 1000


def mark_event(
    event: bytes, classify: Callable[[str, Mapping[str, Any]], Mark], done: Mark
) -> Mark:
    """The mark of one raw event.

    `classify` judges by the event's type and data once they are known to be no error; `done`
    is what the closing `[DONE]` of OpenAI's servers means.
    """
    name, data = event_data(event)
    if not data.strip():
        return Mark.PROLOGUE
    if data.strip() == DONE_DATA:
        return done
    try:
        value = mapping(parse(data))
    except ValueError:
        return Mark.MALFORMED
    kind = optional_string(value.get("type")) or name or ""
    if kind == "error" or name == "error" or (value.get("error") and not kind):
        return Mark.ERROR
    return classify(kind, value)


def event_object(event: bytes) -> Mapping[str, Any]:
    """The object in one raw event's data; empty if there is none. Its `type` is the event's
    name where the data gives none."""
    name, data = event_data(event)
    try:
        value = mapping(parse(data))
    except ValueError:
        return {}
    return value if name is None else {"type": name, **value}


def event_error(event: bytes) -> ErrorFacts:
    """What an error event says."""
    return error_facts(event_data(event)[1])


def error_facts(body: bytes) -> ErrorFacts:
    """What an error body says, in any of the shapes that providers and their proxies use.

    The most telling name wins: a code (`enforced_spend_limit_reached`, `insufficient_quota`)
    over a type (`rate_limit_error`). Long texts are cut: records of them are kept.
    """
    try:
        value = mapping(parse(body))
    except ValueError:
        return ErrorFacts()
    value = mapping(value.get("response")) or value
    if text := optional_string(value.get("error")):
        return ErrorFacts(message=text[:_MESSAGE_CHARS])
    error = mapping(value.get("error")) or value
    details = mapping(error.get("details"))
    names = (
        details.get("error_code"),
        error.get("error_code"),
        error.get("code"),
        error.get("type"),
    )
    message = string(error.get("message")) or string(error.get("detail"))
    return ErrorFacts(
        type=next((name[:_NAME_CHARS] for name in map(string, names) if name), None),
        kind=string(error.get("type"))[:_NAME_CHARS] or None,
        message=message[:_MESSAGE_CHARS] or None,
    )
