"""`POST /v1/chat/completions` in the exact shape of the OpenAI API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from standin.openai_cloud import CREATED_S, headers, indented, tokens
from standin.reply import Ask, Call, Reply, ToolSpec, compose, pieces
from standin.wire import Answer, Request, event


def chat(request: Request) -> Answer:
    """Streamed or not as the body says."""
    body = request.json()
    reply = compose(_ask(body))
    if not body.get("stream"):
        return Answer(headers=headers(request), body=indented(_completion(request, body, reply)))
    events = tuple(_events(request, body, reply))
    busy = {"error": {"message": "Busy", "type": "server_error", "param": None, "code": None}}
    return Answer(
        headers=headers(request, "text/event-stream; charset=utf-8"),
        events=events,
        prologue=1,
        error_event=event(None, busy),
    )


def _ask(body: Mapping[str, Any]) -> Ask:
    turns = body.get("messages", [])
    users = [turn for turn in turns if turn.get("role") == "user"]
    form = body.get("response_format") or {}
    schema = (form.get("json_schema") or {}).get("schema")
    if form.get("type") == "json_object":
        schema = {"properties": {"city": {"type": "string"}}, "type": "object"}
    return Ask(
        text=_text(users[-1]["content"]) if users else "",
        tools=tuple(_tool(tool) for tool in body.get("tools") or []),
        forced=_forced(body.get("tool_choice")),
        schema=schema,
        results=tuple(_results(turns)),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or [])


def _tool(tool: Mapping[str, Any]) -> ToolSpec:
    inner = tool.get(tool["type"], {})
    return ToolSpec(
        name=inner["name"],
        parameters=inner.get("parameters") or {},
        custom=tool["type"] == "custom",
    )


def _forced(choice: Any) -> str | None:
    if isinstance(choice, str) or choice is None:
        return "" if choice == "required" else None
    name = choice.get(choice["type"], {}).get("name")
    return name if isinstance(name, str) else None


def _results(turns: list[Mapping[str, Any]]) -> Iterator[str]:
    for turn in reversed(turns):
        if turn.get("role") != "tool":
            return
        yield _text(turn["content"])


def _usage(request: Request, reply: Reply) -> dict[str, Any]:
    prompt, completion = tokens(request), reply.output_tokens
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    }


def _common(request: Request, body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {
        "id": "chatcmpl-" + request.token,
        "object": kind,
        "created": CREATED_S,
        "model": body.get("model", "gpt"),
        "service_tier": "default",
        "system_fingerprint": "fp_standin",
        "x_future_field": {"of": "a later version"},
    }


def _call(request: Request, number: int, call: Call, arguments: str) -> dict[str, Any]:
    kind, key = ("custom", "input") if call.custom else ("function", "arguments")
    identity = f"call_{request.token[:20]}{number:02}"
    return {"id": identity, "type": kind, kind: {"name": call.name, key: arguments}}


def _completion(request: Request, body: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if reply.calls else reply.text,
        "refusal": None,
        "annotations": [],
    }
    if reply.calls:
        calls = enumerate(reply.calls)
        message["tool_calls"] = [_call(request, n, call, call.arguments) for n, call in calls]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": "tool_calls" if reply.calls else "stop",
    }
    common = _common(request, body, "chat.completion")
    return {**common, "choices": [choice], "usage": _usage(request, reply)}


def _deltas(request: Request, reply: Reply) -> Iterator[dict[str, Any]]:
    yield {"role": "assistant", "content": None if reply.calls else "", "refusal": None}
    if not reply.calls:
        yield from ({"content": piece} for piece in pieces(reply.text))
    for number, call in enumerate(reply.calls):
        yield {"tool_calls": [{"index": number, **_call(request, number, call, "")}]}
        kind, key = ("custom", "input") if call.custom else ("function", "arguments")
        for piece in pieces(call.arguments):
            yield {"tool_calls": [{"index": number, kind: {key: piece}}]}


def _events(request: Request, body: Mapping[str, Any], reply: Reply) -> Iterator[bytes]:
    common = _common(request, body, "chat.completion.chunk")
    with_usage = (body.get("stream_options") or {}).get("include_usage")
    extra = {"usage": None} if with_usage else {}

    def chunk(delta: Mapping[str, Any], reason: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return event(None, {**common, "choices": [choice], **extra, "obfuscation": "aZ3"})

    for delta in _deltas(request, reply):
        yield chunk(delta, None)
    yield chunk({}, "tool_calls" if reply.calls else "stop")
    if with_usage:
        yield event(None, {**common, "choices": [], "usage": _usage(request, reply)})
    yield event(None, b"[DONE]")
