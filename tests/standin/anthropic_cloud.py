"""Answers in the exact shape of the Anthropic API, unknown fields and events among them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from standin.reply import Ask, Call, Reply, ToolSpec, compose, pieces
from standin.wire import Answer, Headers, Request, compact, event

_MODELS = ("claude-opus-5-5", "claude-sonnet-4-5", "claude-haiku-4-5")
_CREATED = "2026-02-04T00:00:00Z"


def headers(request: Request, content_type: str = "application/json") -> Headers:
    """The headers of a real answer, with a fixed clock."""
    limits = ("requests", "tokens", "input-tokens", "output-tokens")
    return (
        ("Date", "Sat, 21 Nov 2026 03:00:00 GMT"),
        ("Content-Type", content_type),
        ("Cache-Control", "no-cache"),
        *((f"anthropic-ratelimit-{kind}-limit", "4000000") for kind in limits),
        *((f"anthropic-ratelimit-{kind}-remaining", "3999000") for kind in limits),
        *((f"anthropic-ratelimit-{kind}-reset", "2026-11-21T03:01:00Z") for kind in limits),
        ("request-id", "req_01" + request.token),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("anthropic-organization-id", "5a1b0c9e-5f7e-4a53-9d3f-1f0d8f4b7e11"),
        ("x-future-header", "of a later version"),
        ("via", "1.1 google"),
        ("cf-cache-status", "DYNAMIC"),
        ("Set-Cookie", "_cfuvid=first; path=/; HttpOnly; Secure"),
        ("Set-Cookie", "__cf_bm=second; path=/; HttpOnly; Secure"),
        ("Server", "cloudflare"),
        ("CF-RAY", request.token[:16] + "-FRA"),
    )


def error(request: Request, status: int, kind: str, message: str) -> Answer:
    """An error in the API's envelope."""
    return Answer(status=status, headers=headers(request), body=_error_body(request, kind, message))


def messages(request: Request) -> Answer:
    """`POST /v1/messages`, streamed or not as the body says."""
    body = request.json()
    reply = compose(_ask(body))
    message = _message(request, body, reply)
    if not body.get("stream"):
        return Answer(headers=headers(request), body=compact(message))
    events = tuple(_events(message))
    return Answer(
        headers=headers(request, "text/event-stream; charset=utf-8"),
        events=events,
        prologue=_prologue(events),
        error_event=event(
            "error", {"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}}
        ),
    )


def count_tokens(request: Request) -> Answer:
    """`POST /v1/messages/count_tokens`."""
    count = {"input_tokens": _tokens(request), "context_management": None}
    return Answer(headers=headers(request), body=compact(count))


def models(request: Request) -> Answer:
    """`GET /v1/models`."""
    page = {
        "data": [_model(name) for name in _MODELS],
        "has_more": False,
        "first_id": _MODELS[0],
        "last_id": _MODELS[-1],
    }
    return Answer(headers=headers(request), body=compact(page))


def model(request: Request) -> Answer:
    """`GET /v1/models/{id}`."""
    name = request.path.rpartition("/")[2]
    if name not in _MODELS:
        return error(request, 404, "not_found_error", f"model: {name}")
    return Answer(headers=headers(request), body=compact(_model(name)))


def batches(request: Request) -> Answer:
    """`/v1/messages/batches`: a new batch, or the list of one."""
    counts = {"processing": 1, "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
    batch = {
        "id": "msgbatch_01" + request.token,
        "type": "message_batch",
        "processing_status": "in_progress",
        "request_counts": counts,
        "ended_at": None,
        "created_at": _CREATED,
        "expires_at": "2026-02-05T00:00:00Z",
        "archived_at": None,
        "cancel_initiated_at": None,
        "results_url": None,
    }
    page = {"data": [batch], "has_more": False, "first_id": batch["id"], "last_id": batch["id"]}
    return Answer(
        headers=headers(request), body=compact(batch if request.method == "POST" else page)
    )


def files(request: Request) -> Answer:
    """`POST /v1/files`: what was uploaded, by its size."""
    stored = {
        "id": "file_01" + request.token,
        "type": "file",
        "filename": "upload.bin",
        "mime_type": "application/octet-stream",
        "size_bytes": len(request.body),
        "created_at": _CREATED,
        "downloadable": False,
    }
    return Answer(headers=headers(request), body=compact(stored))


def _error_body(request: Request, kind: str, message: str) -> bytes:
    detail = {"type": kind, "message": message}
    return compact({"type": "error", "error": detail, "request_id": "req_01" + request.token})


def _model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": _CREATED,
    }


def _tokens(request: Request) -> int:
    return len(request.content) // 4 + 1


def _blocks(content: Any) -> list[Mapping[str, Any]]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else list(content or [])


def _ask(body: Mapping[str, Any]) -> Ask:
    users = [turn for turn in body.get("messages", []) if turn.get("role") == "user"]
    last = _blocks(users[-1]["content"]) if users else []
    choice = body.get("tool_choice") or {}
    forced = {"tool": choice.get("name"), "any": ""}.get(choice.get("type", ""))
    form = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    return Ask(
        text="\n".join(block["text"] for block in last if block.get("type") == "text"),
        tools=tuple(
            ToolSpec(name=tool["name"], parameters=tool["input_schema"])
            for tool in body.get("tools") or []
            if "input_schema" in tool
        ),
        forced=forced,
        schema=form.get("schema"),
        thinking=(body.get("thinking") or {}).get("type") == "enabled",
        results=tuple(_result(block) for block in last if block.get("type") == "tool_result"),
    )


def _result(block: Mapping[str, Any]) -> str:
    return " ".join(part.get("text", "") for part in _blocks(block.get("content")))


def _message(request: Request, body: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    return {
        "model": body.get("model", "claude"),
        "id": "msg_01" + request.token,
        "type": "message",
        "role": "assistant",
        "content": list(_content(request, reply)),
        "stop_reason": "tool_use" if reply.calls else "end_turn",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {
            "input_tokens": _tokens(request),
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0},
            "output_tokens": reply.output_tokens,
            "service_tier": "standard",
            "inference_geo": "global",
        },
        "x_future_field": {"of": "a later version"},
    }


def _content(request: Request, reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.thinking:
        yield {"type": "thinking", "thinking": reply.thinking, "signature": "c2lnbmVk"}
    if reply.text:
        yield {"type": "text", "text": reply.text}
    for number, call in enumerate(reply.calls):
        yield _tool_use(f"toolu_01{request.token[:20]}{number:02}", call)


def _tool_use(identity: str, call: Call) -> dict[str, Any]:
    arguments = json.loads(call.arguments)
    return {"type": "tool_use", "id": identity, "name": call.name, "input": arguments}


def _events(message: Mapping[str, Any]) -> Iterator[bytes]:
    opening = {**message, "content": [], "stop_reason": None}
    opening["usage"] = {**message["usage"], "output_tokens": 1}
    yield event("message_start", {"type": "message_start", "message": opening})
    for index, block in enumerate(message["content"]):
        yield from _block_events(index, block)
    delta = {key: message[key] for key in ("stop_reason", "stop_sequence", "stop_details")}
    usage = {key: value for key, value in message["usage"].items() if key != "cache_creation"}
    yield event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
    # The API pads some events with spaces, which a byte-exact proxy has to keep.
    yield event("message_stop", b'{"type":"message_stop"             }')


def _block_events(index: int, block: Mapping[str, Any]) -> Iterator[bytes]:
    empty, deltas = _opened(block)
    start = {"type": "content_block_start", "index": index, "content_block": empty}
    yield event("content_block_start", start)
    if index == 0:
        yield event("ping", b'{"type": "ping"}')
    for delta in deltas:
        data = {"type": "content_block_delta", "index": index, "delta": delta}
        yield event("content_block_delta", data)
    yield event("content_block_stop", b'{"type":"content_block_stop","index":%d    }' % index)


def _opened(block: Mapping[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        deltas = [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
        return {**block, "text": ""}, deltas
    if block["type"] == "thinking":
        said = [{"type": "thinking_delta", "thinking": p} for p in pieces(block["thinking"])]
        signed = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*said, signed]
    text = json.dumps(block["input"])
    parts = [text[at : at + 7] for at in range(0, len(text), 7)]
    deltas = [{"type": "input_json_delta", "partial_json": part} for part in ["", *parts]]
    return {**block, "input": {}}, deltas


def _prologue(events: tuple[bytes, ...]) -> int:
    return next(n for n, data in enumerate(events) if b"content_block_delta" in data)
