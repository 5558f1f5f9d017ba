"""Errors that reach a client. The class says whose fault it is and carries the status.

Everything here is raised with a message that tells the reader what to do next.
"""

from __future__ import annotations


class FallbackError(Exception):
    """Base of all errors this service answers with.

    `status` is the HTTP status; `code` a stable machine-readable name; `retry_after_s` fills
    `Retry-After`; `should_retry` False adds `x-should-retry: false`, which the official SDKs
    and Claude Code honour.
    """

    status = 500
    code = "internal_error"

    def __init__(
        self, message: str, *, retry_after_s: int | None = None, should_retry: bool | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.should_retry = should_retry


class BadRequest(FallbackError):
    """The client's request cannot be understood or cannot be answered as asked."""

    status = 400
    code = "bad_request"


class Unavailable(FallbackError):
    """No tier can answer now."""

    status = 503
    code = "no_tier_available"


class CloudOnly(Unavailable):
    """Only the cloud may answer this request; the message says why."""

    code = "cloud_only"


class EngineError(Unavailable):
    """The local engine failed at this request (not at the client's mistake)."""

    code = "local_engine_failed"


class EngineNotReady(EngineError):
    """The local engine has no model loaded: starting, failed to load, or switched off."""

    code = "local_engine_not_ready"


class EngineBusy(EngineError):
    """The local engine's queue is full."""

    code = "local_engine_busy"


class ConfigError(Exception):
    """The configuration is wrong; names the key, the value and what is allowed."""
