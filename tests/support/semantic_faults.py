"""Faults of meaning: an API that answers well-formed, and badly."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from standin import Request, anthropic_cloud, faults, openai_cloud
from standin.exchange import Exchange
from standin.faults import Fault as Play

from support.fault import Ask, Fault, Script, always

_FAMOUS = Ask(model="the-model-that-fails")
_POISON = Ask(text="poison: say hi.")

_DATE = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)


def refusal(
    status: int, claude: str, gpt: str, message: str = "No.", *, retry_after: str | None = None
) -> Play:
    """An error answer, its type named as the cloud that was asked names it."""

    async def play(exchange: Exchange) -> None:
        ours = exchange.request.path.startswith("/v1/messages")
        cloud, kind = (anthropic_cloud, claude) if ours else (openai_cloud, gpt)
        answer = cloud.error(exchange.request, status, kind, message)
        if retry_after is not None:
            answer = replace(answer, headers=(*answer.headers, ("retry-after", retry_after)))
        await exchange.respond(answer)

    return play


_BUSY = refusal(529, "overloaded_error", "server_is_overloaded", "Overloaded")
_FAILED = refusal(500, "api_error", "server_error", "Internal server error")


def limited(retry_after: str) -> Script:
    """429 with this `Retry-After`."""
    return always(refusal(429, "rate_limit_error", "rate_limit_exceeded", retry_after=retry_after))


def burst(number: int, request: Request) -> Play | None:
    """Overloaded three times, then well."""
    return _BUSY if number <= 3 else None


def half(number: int, request: Request) -> Play | None:
    """Every other request fails."""
    return _FAILED if number % 2 else None


def flapping(number: int, request: Request) -> Play | None:
    """Twice bad, twice well, and again."""
    return _BUSY if (number - 1) // 2 % 2 == 0 else None


def relapse(number: int, request: Request) -> Play | None:
    """Overloaded, well for two requests, overloaded again, then well for good."""
    return _BUSY if number <= 3 or 6 <= number <= 7 else None


def one_model(number: int, request: Request) -> Play | None:
    """One model is overloaded; its neighbours are well."""
    return _BUSY if request.json().get("model") == _FAMOUS.model else None


def poison(number: int, request: Request) -> Play | None:
    """One body always gives 500, whoever sends it."""
    return _FAILED if b"poison" in request.content else None


def brownout(delay_s: float) -> Play:
    """The right answer, `delay_s` seconds late."""

    async def play(exchange: Exchange) -> None:
        await asyncio.sleep(delay_s)
        await exchange.respond(exchange.answer)

    return play


_CONTEXT = refusal(
    400,
    "invalid_request_error",
    "context_length_exceeded",
    "prompt is too long: 208310 tokens > 200000 maximum",
)
_FILTER = refusal(
    400, "invalid_request_error", "content_filter", "Output blocked by content filtering policy"
)
_SPENT = refusal(402, "billing_error", "insufficient_quota", "You reached your spend limit.")
_BAD_KEY = refusal(401, "authentication_error", "invalid_api_key", "invalid x-api-key")

SEMANTICS = (
    Fault(name="503-always", script=always(refusal(503, "api_error", "server_error"))),
    Fault(name="500-always", script=always(_FAILED)),
    Fault(name="504-timeout", script=always(faults.status(504, "timeout_error"))),
    Fault(name="529-always", script=always(_BUSY)),
    Fault(name="529-burst", script=burst, asks=(Ask(),) * 4, again=True),
    Fault(name="one-model-down", script=one_model, asks=(_FAMOUS, Ask()) * 3),
    Fault(name="poison-request", script=poison, asks=(_POISON, Ask()) * 3),
    Fault(name="429-retry-after-2", script=limited("2")),
    Fault(name="429-retry-after-3600", script=limited("3600")),
    Fault(name="429-retry-after-negative", script=limited("-1")),
    Fault(name="429-retry-after-date", script=limited(_DATE)),
    Fault(name="spend-limit", script=always(_SPENT)),
    Fault(name="bad-key", script=always(_BAD_KEY)),
    Fault(name="context-length", script=always(_CONTEXT)),
    Fault(name="content-filter", script=always(_FILTER)),
    Fault(name="brownout", script=always(brownout(3.0))),
    Fault(name="half-errors", script=half, asks=(Ask(),) * 4),
    Fault(name="flapping", script=flapping, asks=(Ask(),) * 8),
    Fault(name="relapse", script=relapse, asks=(Ask(),) * 9, again=True),
)
