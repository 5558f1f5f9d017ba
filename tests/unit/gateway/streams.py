"""Whole, well-formed answers of each cloud, as events."""

from __future__ import annotations

import json


def _named(name: str, **fields: object) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **fields})}\n\n".encode()


def _data(**fields: object) -> bytes:
    return f"data: {json.dumps(fields)}\n\n".encode()


def _delta(**delta: object) -> bytes:
    return _data(id="c1", object="chat.completion.chunk", choices=[{"index": 0, "delta": delta}])


STREAMS: dict[str, tuple[bytes, ...]] = {
    "anthropic": (
        _named("message_start", message={"id": "msg_1", "content": [], "usage": {}}),
        _named("ping"),
        _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        _named("content_block_delta", index=0, delta={"type": "text_delta", "text": "cloud"}),
        _named("content_block_stop", index=0),
        _named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
        _named("message_stop"),
    ),
    "openai-chat": (
        _delta(role="assistant", content=""),
        _delta(content="cloud"),
        _data(id="c1", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
        b"data: [DONE]\n\n",
    ),
    "openai-responses": (
        _named("response.created", response={"id": "resp_1", "status": "in_progress"}),
        _named("response.in_progress", response={"id": "resp_1", "status": "in_progress"}),
        _named("response.output_item.added", output_index=0, item={"type": "message"}),
        _named("response.output_text.delta", output_index=0, delta="cloud"),
        _named("response.completed", response={"id": "resp_1", "status": "completed"}),
    ),
}
# How many events of each come before the first content.
PROLOGUES = {"anthropic": 2, "openai-chat": 1, "openai-responses": 2}
ERRORS: dict[str, bytes] = {
    "anthropic": _named("error", error={"type": "overloaded_error", "message": "Overloaded"}),
    "openai-chat": _data(error={"message": "busy", "type": "server_error", "code": None}),
    "openai-responses": _named("error", code="server_error", message="busy"),
}
EVENT_STREAM = ((b"content-type", b"text/event-stream; charset=utf-8"),)
