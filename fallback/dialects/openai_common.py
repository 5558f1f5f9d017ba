"""What both OpenAI dialects share: errors, lists of models, token counts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fallback.dialects.base import ErrorFacts
from fallback.dialects.jsonvalues import dump
from fallback.dialects.upstream import error_facts, event_error

_ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def error_object(status: int, message: str, code: str) -> dict[str, Any]:
    """The error that goes with an HTTP status."""
    other = "invalid_request_error" if status < 500 else "server_error"
    type_ = _ERROR_TYPES.get(status, other)
    return {"message": message, "type": type_, "param": None, "code": code}


class OpenAICommon:
    """The part of `Dialect` that both OpenAI dialects do alike."""

    def error_body(
        self, status: int, message: str, *, code: str, extra: Mapping[str, Any]
    ) -> bytes:
        return dump({**extra, "error": error_object(status, message, code)})

    def read_error(self, body: bytes) -> ErrorFacts:
        return error_facts(body)

    def stream_error(self, event: bytes) -> ErrorFacts:
        return event_error(event)

    def count_tokens_body(self, tokens: int, extra: Mapping[str, Any]) -> bytes:
        return dump({**extra, "object": "response.input_tokens", "input_tokens": tokens})

    def models_body(self, models: list[str], created_s: int, extra: Mapping[str, Any]) -> bytes:
        data = [_model(model, created_s) for model in models]
        return dump({**extra, "object": "list", "data": data})

    def model_body(self, model: str, created_s: int, extra: Mapping[str, Any]) -> bytes:
        return dump({**extra, **_model(model, created_s)})


def _model(model: str, created_s: int) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": created_s, "owned_by": "fallback"}
