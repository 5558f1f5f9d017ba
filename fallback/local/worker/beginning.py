"""What is to be had ready of a request that passed to the cloud: the request that the local tier
would make of it."""

from __future__ import annotations

from fallback.core.errors import CloudOnly, EngineError
from fallback.core.notice import unmarked
from fallback.core.ports import GenerateRequest
from fallback.core.unfit import unfit
from fallback.dialects import DIALECTS
from fallback.local import wire


def beginning(warm: wire.Warm) -> GenerateRequest:
    """The request whose prompt is to be computed, with neither grammar nor a limit of time.

    Raises `BadRequest` for what is none, `CloudOnly` for what no small model may answer, and
    `EngineError` for a dialect that nobody here speaks.
    """
    dialect = DIALECTS.get(warm.dialect)
    if dialect is None:
        raise EngineError(f"there is no dialect {warm.dialect!r}")
    conversation, body = dialect.decode(warm.body)
    if (found := unfit("generate", conversation, body)) is not None:
        raise CloudOnly(found.reason)
    return GenerateRequest(
        id=f"standby-{warm.id}",
        conversation=unmarked(conversation),
        max_tokens=warm.max_tokens,
        prompt_budget_tokens=warm.prompt_budget_tokens,
    )
