"""What a small model must not answer, although it could. Pure.

Harm would outlast the outage: a poor summary replaces a session's history for good, a poor title
stays, a made-up verdict lets a dangerous command run. Such requests look like any other but for
their prose and shape, and both change between versions of the clients. So each kind is known by
several marks of which some have to agree, or by one that means nothing else.

`safeguards` in a body is no such mark. Claude Code sends it with every request of its auto mode,
wanting a verdict beside the answer. A local answer brings none; the client then asks a classifier
of its own, and such a request is known here.

Sources: captured requests of Claude Code 2.1.329 (compaction, title); the Codex CLI's `compact.rs`
and `compact_remote_v2.rs`; docs.litellm.ai/docs/claude_code_auto_mode (safeguards and the
classifier's requests).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from fallback.core import unfit_marks as marks
from fallback.core.conversation import Conversation
from fallback.core.routing import Operation


class Unfit(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is a stable token for metrics, `reason` a sentence for a person."""

    name: str
    reason: str


_BY_OPERATION: Mapping[Operation, Unfit] = {
    "embeddings": Unfit(
        name="embeddings",
        reason="Embeddings come from the cloud alone, since vectors of two models cannot be "
        "compared.",
    ),
    "other": Unfit(
        name="provider-only",
        reason="Batches, files, moderation and whatever else lives at the provider can only be "
        "had from it.",
    ),
}


class _Kind(NamedTuple):
    unfit: Unfit
    known: Callable[[Conversation, Mapping[str, Any]], bool]


_KINDS = (
    _Kind(
        Unfit(
            name="compaction",
            reason="The client asks for a summary that is to replace its history: a small "
            "model's would spoil the session for good.",
        ),
        marks.asks_for_compaction,
    ),
    _Kind(
        Unfit(
            name="title",
            reason="The client asks for a title that stays with its session; it goes on "
            "without one.",
        ),
        marks.asks_for_title,
    ),
    _Kind(
        Unfit(
            name="safety-verdict",
            reason="The client asks whether something is safe: a small model's verdict cannot "
            "be relied on, and none is safer than a wrong one.",
        ),
        marks.asks_for_verdict,
    ),
)


def unfit(
    operation: Operation,
    conversation: Conversation | None,
    body_fields: Mapping[str, Any],
) -> Unfit | None:
    """Why the local tier must leave this request alone; None where it may answer.

    `conversation` is the decoded body of a `generate`, `body_fields` the same as JSON types.
    """
    if conversation is None or operation != "generate":
        return _BY_OPERATION.get(operation)
    for kind in _KINDS:
        if kind.known(conversation, body_fields):
            return kind.unfit
    return None
