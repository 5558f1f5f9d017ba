"""OpenAI Chat Completions: a request's body -> a conversation.

Source: https://platform.openai.com/docs/api-reference/chat and the types of the `openai` package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from fallback.core.conversation import (
    Attachment,
    Conversation,
    Part,
    Sampling,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Turn,
)
from fallback.dialects.decoding import (
    lift_system,
    messages_in,
    output_limit,
    stop_texts,
    text_parts,
)
from fallback.dialects.jsonvalues import (
    boolean,
    gathered_text,
    integer,
    mapping,
    number,
    objects,
    string,
)
from fallback.dialects.openai_decoding import (
    attachment,
    output_format,
    settled_tools,
    spec,
    tool,
)

_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
}


def wants_legacy_calls(raw: Mapping[str, Any]) -> bool:
    """Whether the client speaks `functions`, from before there were `tools`."""
    return bool(raw.get("functions")) and not raw.get("tools")


def conversation(raw: Mapping[str, Any]) -> Conversation:
    """The conversation in a decoded body. Raises `BadRequest` if it has no messages."""
    spoken = tuple(_turn(message) for message in messages_in(raw, "messages"))
    system, turns = lift_system("", spoken)
    tools, tool_choice = _offer(raw)
    return Conversation(
        model=string(raw.get("model")),
        system=system,
        turns=turns,
        tools=tools,
        tool_choice=tool_choice,
        output_format=output_format(mapping(raw.get("response_format"))),
        sampling=_sampling(raw),
        stream=boolean(raw.get("stream"), False),
    )


def _turn(message: Mapping[str, Any]) -> Turn:
    role = string(message.get("role"))
    if role in ("tool", "function"):
        return Turn("user", tuple(_tool_result(message)))
    thinking = message.get("reasoning_content") or message.get("reasoning")
    parts: list[Part] = [Thinking(string(thinking))] if string(thinking) else []
    parts.extend(_content(message.get("content")))
    parts.extend(text_parts(string(message.get("refusal"))))
    parts.extend(_calls(message))
    return Turn(_ROLES.get(role, "user"), tuple(parts))


def _content(content: Any) -> Iterator[Text | Attachment]:
    if isinstance(content, str):
        yield from text_parts(content)
    for part in objects(content):
        if unseen := attachment(part):
            yield unseen
        else:
            yield from text_parts(gathered_text(part) or string(part.get("refusal")))


def _calls(message: Mapping[str, Any]) -> Iterator[ToolCall]:
    for call in objects(message.get("tool_calls")):
        inner = spec(call)
        # A custom tool's call has `input` where a function's has `arguments`.
        arguments = string(inner.get("arguments")) or string(inner.get("input"))
        yield ToolCall(
            id=string(call.get("id")), name=string(inner.get("name")), arguments=arguments
        )
    legacy = mapping(message.get("function_call"))
    if name := string(legacy.get("name")):
        # Before `tool_calls` a call had no id: the result named the function instead.
        yield ToolCall(id=name, name=name, arguments=string(legacy.get("arguments")))


def _tool_result(message: Mapping[str, Any]) -> Iterator[Part]:
    parts = list(_content(message.get("content")))
    yield ToolResult(
        call_id=string(message.get("tool_call_id")) or string(message.get("name")),
        text="\n".join(part.text for part in parts if isinstance(part, Text)),
    )
    yield from (part for part in parts if isinstance(part, Attachment))


def _offer(raw: Mapping[str, Any]) -> tuple[tuple[Tool, ...], ToolChoice]:
    if wants_legacy_calls(raw):
        entries = [{"type": "function", **entry} for entry in objects(raw.get("functions"))]
        found = tuple(filter(None, map(tool, entries)))
        return settled_tools(found, raw.get("function_call"), False)
    found = tuple(filter(None, map(tool, objects(raw.get("tools")))))
    return settled_tools(found, raw.get("tool_choice"), raw.get("parallel_tool_calls"))


def _sampling(raw: Mapping[str, Any]) -> Sampling:
    return Sampling(
        temperature=number(raw.get("temperature")),
        top_p=number(raw.get("top_p")),
        top_k=integer(raw.get("top_k")),
        presence_penalty=number(raw.get("presence_penalty")),
        frequency_penalty=number(raw.get("frequency_penalty")),
        seed=integer(raw.get("seed")),
        max_tokens=output_limit(raw.get("max_completion_tokens"), raw.get("max_tokens")),
        stop=stop_texts(raw.get("stop")),
    )
