"""`POST /v1/responses` in the exact shape of the OpenAI API."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from standin.openai_cloud import CREATED_S, headers, indented, tokens
from standin.reply import Ask, Call, Reply, ToolSpec, compose, pieces
from standin.wire import Answer, Request, event

_RESULTS = ("function_call_output", "custom_tool_call_output")


def responses(request: Request) -> Answer:
    """Streamed or not as the body says."""
    body = request.json()
    reply = compose(_ask(body))
    items = list(_items(request, reply))
    whole = _response(request, body, reply, items)
    if not body.get("stream"):
        return Answer(headers=headers(request), body=indented(whole))
    events = tuple(_numbered(_events(whole)))
    busy = {"type": "error", "code": "server_is_overloaded", "message": "Busy", "param": None}
    return Answer(
        headers=headers(request, "text/event-stream; charset=utf-8"),
        events=events,
        prologue=next(n for n, data in enumerate(events) if b".delta" in data),
        error_event=event("error", {**busy, "sequence_number": 0}),
    )


def _turns(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    given = body.get("input", "")
    return [{"role": "user", "content": given}] if isinstance(given, str) else list(given)


def _ask(body: Mapping[str, Any]) -> Ask:
    turns = _turns(body)
    users = [turn for turn in turns if turn.get("role") == "user"]
    form = (body.get("text") or {}).get("format") or {}
    return Ask(
        text=_text(users[-1]["content"]) if users else "",
        tools=tuple(_tools(body)),
        forced=_forced(body.get("tool_choice")),
        schema=form.get("schema"),
        results=tuple(_results(turns)),
    )


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content or [])


def _tools(body: Mapping[str, Any]) -> Iterator[ToolSpec]:
    for tool in body.get("tools") or []:
        if tool["type"] in ("function", "custom"):
            parameters = tool.get("parameters") or {}
            custom = tool["type"] == "custom"
            yield ToolSpec(name=tool["name"], parameters=parameters, custom=custom)


def _forced(choice: Any) -> str | None:
    if isinstance(choice, Mapping):
        return str(choice.get("name", ""))
    return "" if choice == "required" else None


def _results(turns: list[Mapping[str, Any]]) -> Iterator[str]:
    for turn in reversed(turns):
        if turn.get("type") not in _RESULTS:
            return
        yield _text(turn["output"])


def _items(request: Request, reply: Reply) -> Iterator[dict[str, Any]]:
    if reply.thinking:
        yield {
            "id": "rs_" + request.token,
            "type": "reasoning",
            "summary": [],
            "encrypted_content": "c2VjcmV0",
        }
    if reply.text and not reply.calls:
        part = {"type": "output_text", "annotations": [], "logprobs": [], "text": reply.text}
        yield {
            "id": "msg_" + request.token,
            "type": "message",
            "status": "completed",
            "content": [part],
            "role": "assistant",
        }
    for number, call in enumerate(reply.calls):
        yield _call(f"{request.token[:20]}{number:02}", call)


def _call(token: str, call: Call) -> dict[str, Any]:
    common = {"status": "completed", "call_id": "call_" + token, "name": call.name}
    if call.custom:
        return {
            "id": "ctc_" + token,
            "type": "custom_tool_call",
            **common,
            "input": call.arguments,
        }
    return {"id": "fc_" + token, "type": "function_call", **common, "arguments": call.arguments}


def _response(
    request: Request, body: Mapping[str, Any], reply: Reply, items: list[dict[str, Any]]
) -> dict[str, Any]:
    echoed: dict[str, Any] = {
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "reasoning": {"effort": None, "summary": None},
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
    }
    prompt, completion = tokens(request), reply.output_tokens
    return {
        "id": "resp_" + request.token,
        "object": "response",
        "created_at": CREATED_S,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": body.get("model", "gpt"),
        "output": items,
        "previous_response_id": None,
        **{key: body.get(key, default) for key, default in echoed.items()},
        "service_tier": "default",
        "usage": {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": completion,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + completion,
        },
        "user": None,
        "x_future_field": {"of": "a later version"},
    }


def _numbered(events: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    for number, data in enumerate(events):
        yield event(data["type"], {**data, "sequence_number": number})


def _events(whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    opening = {**whole, "status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": opening}
    yield {"type": "response.in_progress", "response": opening}
    for index, item in enumerate(whole["output"]):
        yield from _item_events(index, item)
    yield {"type": "response.completed", "response": whole}


def _item_events(index: int, item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    emptied = {"content": [], "arguments": "", "input": ""}
    opened = {key: emptied.get(key, value) for key, value in item.items()}
    if "status" in item:
        opened["status"] = "in_progress"
    yield {"type": "response.output_item.added", "output_index": index, "item": opened}
    place = {"item_id": item["id"], "output_index": index}
    if item["type"] == "message":
        yield from _text_events({**place, "content_index": 0}, item["content"][0])
    elif item["type"] == "function_call":
        yield from _argument_events(place, item)
    elif item["type"] == "custom_tool_call":
        yield from _input_events(place, item)
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _text_events(place: Mapping[str, Any], part: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        delta = {"delta": piece, "logprobs": [], "obfuscation": "aZ3"}
        yield {"type": "response.output_text.delta", **place, **delta}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _argument_events(place: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = "response.function_call_arguments"
    for piece in pieces(item["arguments"]):
        yield {"type": f"{kind}.delta", **place, "delta": piece}
    done = {"name": item["name"], "arguments": item["arguments"]}
    yield {"type": f"{kind}.done", **place, **done}


def _input_events(place: Mapping[str, Any], item: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kind = "response.custom_tool_call_input"
    for piece in pieces(item["input"]):
        yield {"type": f"{kind}.delta", **place, "delta": piece}
    yield {"type": f"{kind}.done", **place, "input": item["input"]}
