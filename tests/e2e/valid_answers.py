"""Is this a valid answer? Judged by the official SDKs' own types and by the order of events."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from anthropic.types import Message, RawMessageStreamEvent
from jiter import from_json
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel


def _by_type(union: Any) -> Mapping[str, type[BaseModel]]:
    """The members of a union of event types, by the `type` that they carry on the wire."""
    members = get_args(get_args(union)[0])
    return {get_args(member.model_fields["type"].annotation)[0]: member for member in members}


_ANTHROPIC_EVENTS = _by_type(RawMessageStreamEvent)
_RESPONSES_EVENTS = _by_type(ResponseStreamEvent)

_ANTHROPIC_ORDER = re.compile(
    r"message_start(?: content_block_start(?: content_block_delta)* content_block_stop)*"
    r" message_delta message_stop"
)
_RESPONSES_ITEM = (
    r" output_item\.added"
    r"(?: content_part\.added(?: output_text\.delta)* output_text\.done content_part\.done"
    r"|(?: function_call_arguments\.delta)* function_call_arguments\.done"
    r"|(?: custom_tool_call_input\.delta)* custom_tool_call_input\.done)?"
    r" output_item\.done"
)
_RESPONSES_ORDER = re.compile(
    rf"created in_progress(?:{_RESPONSES_ITEM})* (?:completed|incomplete)"
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What an answer says, whatever its dialect.

    `calls` are names and arguments (JSON or text). `cut`: the answer says that its token budget
    ended it.
    """

    model: str
    text: str
    calls: tuple[tuple[str, str], ...]
    stop: str
    output_tokens: int
    provenance: Mapping[str, Any] | None

    @property
    def cut(self) -> bool:
        return self.stop in ("max_tokens", "length", "incomplete")


def read(path: str, *, streamed: bool, body: bytes) -> Seen:
    """Read an answer to a POST on `path`. Raises on whatever its SDK would stumble over."""
    reader = _READERS[path.removeprefix("/v1"), streamed]
    return reader(body)


def events(body: bytes) -> list[tuple[str | None, Any]]:
    """Name and data of each server-sent event; comments are left out, `[DONE]` is a string."""
    assert body.endswith(b"\n\n"), f"the stream ends inside an event: {body[-80:]!r}"
    blocks = [block for block in body.decode().split("\n\n") if block.strip()]
    fields = [_fields(block) for block in blocks if not block.startswith(":")]
    return [(field.get("event"), _data(field["data"])) for field in fields]


def _fields(block: str) -> dict[str, str]:
    lines = (line.partition(":") for line in block.split("\n") if not line.startswith(":"))
    return {name: value.removeprefix(" ") for name, _, value in lines}


def _data(text: str) -> Any:
    return text if text == "[DONE]" else json.loads(text)


def _anthropic_whole(body: bytes) -> Seen:
    return _anthropic(Message.model_validate_json(body), json.loads(body).get("provenance"))


def _anthropic_stream(body: bytes) -> Seen:
    found = [(name, data) for name, data in events(body) if name != "ping"]
    names = " ".join(name or "?" for name, _ in found)
    assert _ANTHROPIC_ORDER.fullmatch(names), f"order of events: {names}"
    for name, data in found:
        assert data["type"] == name
        _ANTHROPIC_EVENTS[data["type"]].model_validate(data)
    return _anthropic(_gather_message([data for _, data in found]), _started(found[0][1]))


def _started(message_start: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return cast(Mapping[str, Any], message_start["message"]).get("provenance")


def _gather_message(found: list[dict[str, Any]]) -> Message:
    message, blocks = dict(found[0]["message"]), cast(list[dict[str, Any]], [])
    parts: dict[int, str] = {}
    for data in found:
        if data["type"] == "content_block_start":
            assert data["index"] == len(blocks), "content blocks are numbered from 0"
            blocks.append(dict(data["content_block"]))
        elif data["type"] == "content_block_delta":
            assert data["index"] == len(blocks) - 1, "deltas belong to the open block"
            parts[data["index"]] = parts.get(data["index"], "") + _delta_text(data["delta"])
        elif data["type"] == "message_delta":
            message.update(data["delta"])
            message["usage"] = {**message["usage"], **data["usage"]}
    for index, block in enumerate(blocks):
        cut = message["stop_reason"] == "max_tokens" and index == len(blocks) - 1
        _fill(block, parts.get(index, ""), cut=cut)
    return Message.model_validate({**message, "content": blocks})


def _delta_text(delta: Mapping[str, Any]) -> str:
    keys = {"text_delta": "text", "input_json_delta": "partial_json", "thinking_delta": "thinking"}
    return str(delta.get(keys.get(delta["type"], ""), ""))


def _fill(block: dict[str, Any], text: str, *, cut: bool) -> None:
    if block["type"] == "tool_use":
        assert block["input"] == {}, "tool input comes in deltas"
        block["input"] = from_json((text or "{}").encode(), partial_mode=cut)
    else:
        block[block["type"]] = text


def _anthropic(message: Message, provenance: Mapping[str, Any] | None) -> Seen:
    assert message.stop_reason is not None
    blocks = message.content
    return Seen(
        model=message.model,
        text="".join(block.text for block in blocks if block.type == "text"),
        calls=tuple(
            (block.name, json.dumps(block.input)) for block in blocks if block.type == "tool_use"
        ),
        stop=message.stop_reason,
        output_tokens=message.usage.output_tokens,
        provenance=provenance,
    )


def _chat_whole(body: bytes) -> Seen:
    completion = ChatCompletion.model_validate_json(body)
    (choice,) = completion.choices
    assert completion.usage is not None
    return Seen(
        model=completion.model,
        text=choice.message.content or "",
        calls=tuple(_chat_call(call.model_dump()) for call in choice.message.tool_calls or ()),
        stop=choice.finish_reason,
        output_tokens=completion.usage.completion_tokens,
        provenance=json.loads(body).get("provenance"),
    )


def _chat_call(call: Mapping[str, Any]) -> tuple[str, str]:
    inner = call[call["type"]]
    return inner["name"], inner["arguments" if call["type"] == "function" else "input"]


def _chat_stream(body: bytes) -> Seen:
    found = [data for _, data in events(body)]
    assert found[-1] == "[DONE]", f"the stream ends with {found[-1]}"
    chunks = [ChatCompletionChunk.model_validate(data) for data in found[:-1]]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert len({chunk.id for chunk in chunks}) == 1, "one answer has one id"
    said = [chunk.choices[0] for chunk in chunks if chunk.choices]
    reasons = [choice.finish_reason for choice in said]
    assert all(reason is None for reason in reasons[:-1]), f"finished twice: {reasons}"
    assert reasons[-1] is not None, "no finish_reason"
    usage = next((chunk.usage for chunk in chunks if chunk.usage), None)
    return Seen(
        model=chunks[0].model,
        text="".join(choice.delta.content or "" for choice in said),
        calls=_gather_calls(choice.delta.model_dump() for choice in said),
        stop=reasons[-1],
        output_tokens=usage.completion_tokens if usage else 0,
        provenance=found[0].get("provenance"),
    )


def _gather_calls(deltas: Iterable[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    calls: list[tuple[str, str]] = []
    for delta in deltas:
        for part in delta.get("tool_calls") or ():
            inner = part.get("function") or part.get("custom") or {}
            text = inner.get("arguments") or inner.get("input") or ""
            if part["index"] == len(calls):
                assert part["id"], "a call begins with its id"
                calls.append((inner["name"], text))
            else:
                name, before = calls[part["index"]]
                calls[part["index"]] = name, before + text
    return tuple(calls)


def _responses_whole(body: bytes) -> Seen:
    data = json.loads(body)
    return _responses(Response.model_validate(data), data.get("provenance"))


def _responses_stream(body: bytes) -> Seen:
    found = events(body)
    kinds = [(name or "?").removeprefix("response.") for name, _ in found]
    # More than one is a keep-alive that SDKs accept.
    order = [kind for n, kind in enumerate(kinds) if kind != "in_progress" or n == 1]
    assert _RESPONSES_ORDER.fullmatch(" ".join(order)), f"order of events: {order}"
    for number, (name, data) in enumerate(found):
        assert data["type"] == name
        _RESPONSES_EVENTS[data["type"]].model_validate(data)
        assert data["sequence_number"] == number, "events are numbered from 0"
    last = found[-1][1]["response"]
    done = [data["item"] for name, data in found if name == "response.output_item.done"]
    assert last["output"] == done, "the last event repeats the items"
    return _responses(Response.model_validate(last), last.get("provenance"))


def _responses(response: Response, provenance: Mapping[str, Any] | None) -> Seen:
    assert response.usage is not None
    calls = [item.model_dump() for item in response.output if item.type.endswith("tool_call")]
    functions = [item.model_dump() for item in response.output if item.type == "function_call"]
    return Seen(
        model=response.model,
        text=response.output_text,
        calls=tuple(
            [(item["name"], item["arguments"]) for item in functions]
            + [(item["name"], item["input"]) for item in calls]
        ),
        stop=response.status or "?",
        output_tokens=response.usage.output_tokens,
        provenance=provenance,
    )


_READERS: Mapping[tuple[str, bool], Callable[[bytes], Seen]] = {
    ("/messages", False): _anthropic_whole,
    ("/messages", True): _anthropic_stream,
    ("/chat/completions", False): _chat_whole,
    ("/chat/completions", True): _chat_stream,
    ("/responses", False): _responses_whole,
    ("/responses", True): _responses_stream,
}
