"""The dialect of Anthropic Messages (`/v1/messages`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fallback.core.answer import AnswerEvent
from fallback.core.conversation import Conversation
from fallback.dialects.anthropic_decode import conversation
from fallback.dialects.anthropic_encode import (
    MESSAGE_STOP,
    AnthropicStream,
    error_event,
    whole,
)
from fallback.dialects.anthropic_read import AnthropicReader, read_whole
from fallback.dialects.anthropic_request import request
from fallback.dialects.anthropic_seam import seam
from fallback.dialects.base import (
    AnswerContext,
    AnswerReader,
    ErrorFacts,
    Mark,
    Seam,
    StreamEncoder,
    Unsplicable,
)
from fallback.dialects.custom_tools import custom_names
from fallback.dialects.jsonvalues import dump, mapping, read_object
from fallback.dialects.upstream import error_facts, event_error, mark_event

_ERROR_TYPES: Mapping[int, str] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic:
    """Anthropic Messages."""

    name = "anthropic"
    # One first letter for all words: the search then skips by memchr, four times as fast.
    watch = re.compile(rb"e(?:_delta|_stop|rror)")
    terminal = MESSAGE_STOP
    path = "/v1/messages"

    def decode(self, body: bytes) -> tuple[Conversation, Mapping[str, Any]]:
        raw = read_object(body)
        return conversation(raw), raw

    def encode_request(self, conversation: Conversation) -> bytes:
        return dump(request(conversation))

    def answer_reader(self, conversation: Conversation) -> AnswerReader:
        return AnthropicReader(custom_names(conversation.tools))

    def read_whole(self, body: bytes, conversation: Conversation) -> list[AnswerEvent]:
        return read_whole(body, custom_names(conversation.tools))

    def stream_encoder(self, context: AnswerContext) -> StreamEncoder:
        return AnthropicStream(context)

    def encode_whole(self, context: AnswerContext, events: list[AnswerEvent]) -> bytes:
        return whole(context, events)

    def error_body(
        self, status: int, message: str, *, code: str, extra: Mapping[str, Any]
    ) -> bytes:
        type_ = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
        error = {"type": type_, "message": message, "code": code}
        return dump({**extra, "type": "error", "error": error})

    def read_error(self, body: bytes) -> ErrorFacts:
        return error_facts(body)

    def seam(self, sent: bytes) -> Seam | Unsplicable:
        return seam(sent)

    def mark(self, event: bytes) -> Mark:
        return mark_event(event, _mark, done=Mark.PROLOGUE)

    def stream_error(self, event: bytes) -> ErrorFacts:
        return event_error(event)

    def broken(self, message: str, *, code: str) -> bytes:
        return error_event(message, code)

    def count_tokens_body(self, tokens: int, extra: Mapping[str, Any]) -> bytes:
        return dump({**extra, "input_tokens": tokens})

    def models_body(self, models: list[str], created_s: int, extra: Mapping[str, Any]) -> bytes:
        page = {
            "data": [_model(model, created_s) for model in models],
            "has_more": False,
            "first_id": models[0] if models else None,
            "last_id": models[-1] if models else None,
        }
        return dump({**extra, **page})

    def model_body(self, model: str, created_s: int, extra: Mapping[str, Any]) -> bytes:
        return dump({**extra, **_model(model, created_s)})


def _mark(kind: str, event: Mapping[str, Any]) -> Mark:
    if kind == "content_block_start":
        # An empty block of text says nothing yet; thinking may well be all there is for minutes.
        block = mapping(event.get("content_block"))
        empty = block.get("type") == "text" and not block.get("text")
        return Mark.PROLOGUE if empty else Mark.CONTENT
    if kind == "content_block_delta":
        return Mark.CONTENT
    if kind == "message_delta" and mapping(event.get("delta")).get("stop_reason"):
        return Mark.FINISHED
    return Mark.END if kind == "message_stop" else Mark.PROLOGUE


def _model(model: str, created_s: int) -> dict[str, Any]:
    return {
        "type": "model",
        "id": model,
        "display_name": model,
        "created_at": datetime.fromtimestamp(created_s, UTC).isoformat(),
        "lifecycle": "active",
    }
