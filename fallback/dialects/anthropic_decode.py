"""Anthropic Messages: a request's body -> a conversation.

Source: https://docs.claude.com/en/api/messages and the request types of the `anthropic` package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from fallback.core.conversation import (
    Attachment,
    Conversation,
    OutputFormat,
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
    called_names,
    joined,
    lift_system,
    messages_in,
    output_limit,
    possible_choice,
    stop_texts,
    text_parts,
)
from fallback.dialects.jsonvalues import (
    boolean,
    dump_text,
    gathered_text,
    integer,
    mapping,
    number,
    objects,
    optional_string,
    string,
)

_ROLES: Mapping[str, Literal["system", "user", "assistant"]] = {
    "assistant": "assistant",
    "system": "system",
    "developer": "system",
}
_ATTACHMENTS: Mapping[str, Literal["image", "document", "file"]] = {
    "image": "image",
    "document": "document",
    "container_upload": "file",
}
_CHOICES: Mapping[str, Literal["auto", "none", "required", "named"]] = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "tool": "named",
}


def conversation(raw: Mapping[str, Any]) -> Conversation:
    """The conversation in a decoded body. Raises `BadRequest` if it has no messages."""
    messages = messages_in(raw, "messages")
    spoken = tuple(_turn(message) for message in messages)
    system, turns = lift_system(_system(raw.get("system")), spoken)
    tools = _tools(raw.get("tools"), called_names(turns) | _loaded_tools(messages))
    return Conversation(
        model=string(raw.get("model")),
        system=system,
        turns=turns,
        tools=tools,
        tool_choice=possible_choice(_tool_choice(mapping(raw.get("tool_choice"))), tools),
        output_format=_output_format(raw),
        sampling=_sampling(raw),
        stream=boolean(raw.get("stream"), False),
    )


def _system(value: Any) -> str:
    return value if isinstance(value, str) else joined(map(gathered_text, objects(value)))


def _turn(message: Mapping[str, Any]) -> Turn:
    role = _ROLES.get(string(message.get("role")), "user")
    content = message.get("content")
    if isinstance(content, str):
        return Turn(role, tuple(text_parts(content)))
    return Turn(role, tuple(part for block in objects(content) for part in _block(block)))


def _block(block: Mapping[str, Any]) -> Iterator[Part]:
    match block.get("type"):
        case "tool_use":
            yield ToolCall(
                id=string(block.get("id")),
                name=string(block.get("name")),
                arguments=dump_text(mapping(block.get("input"))),
            )
        case "tool_result":
            yield from _tool_result(block)
        case "thinking" | "redacted_thinking":
            yield Thinking(string(block.get("thinking")))
        case _:
            yield from _passive(block)


def _passive(block: Mapping[str, Any]) -> Iterator[Text | Attachment]:
    """A block that neither calls nor answers a tool, also inside a tool's result."""
    source = mapping(block.get("source"))
    kind = _ATTACHMENTS.get(string(block.get("type")))
    if kind and source.get("type") not in ("text", "content"):
        yield Attachment(
            kind=kind,
            media_type=optional_string(source.get("media_type")),
            name=optional_string(block.get("title")),
        )
        return
    # Blocks of the provider's own tools come here too: their text is all we can use.
    plain = string(source.get("data")) if source.get("type") == "text" else ""
    yield from text_parts(joined([gathered_text(block), plain]))


def _tool_result(block: Mapping[str, Any]) -> Iterator[Part]:
    content = block.get("content")
    parts = [part for item in objects(content) for part in _passive(item)]
    texts = [part.text for part in parts if isinstance(part, Text)]
    yield ToolResult(
        call_id=string(block.get("tool_use_id")),
        text=content if isinstance(content, str) else "\n".join(texts),
        is_error=boolean(block.get("is_error"), False),
    )
    yield from (part for part in parts if isinstance(part, Attachment))


def _loaded_tools(messages: list[dict[str, Any]]) -> set[str]:
    """The deferred tools that a tool search brought into the conversation."""
    found: set[str] = set()
    for message in messages:
        for block in objects(message.get("content")):
            inner = block.get("content")
            nested = mapping(inner).get("tool_references", inner)
            found.update(string(item.get("tool_name")) for item in objects(nested))
    return found


def _tools(value: Any, in_use: set[str]) -> tuple[Tool, ...]:
    return tuple(
        Tool(
            name=string(tool.get("name")),
            description=string(tool.get("description")),
            parameters=tool["input_schema"],
            strict=boolean(tool.get("strict"), False),
        )
        for tool in objects(value)
        if isinstance(tool.get("input_schema"), dict)
        and string(tool.get("name"))
        and (tool.get("defer_loading") is not True or tool["name"] in in_use)
    )


def _tool_choice(choice: Mapping[str, Any]) -> ToolChoice:
    mode = _CHOICES.get(string(choice.get("type")), "auto")
    return ToolChoice(
        mode=mode,
        name=optional_string(choice.get("name")) if mode == "named" else None,
        parallel=not boolean(choice.get("disable_parallel_tool_use"), False),
    )


def _output_format(raw: Mapping[str, Any]) -> OutputFormat | None:
    # `output_format` at the top level is the older name of `output_config.format`.
    wanted = mapping(mapping(raw.get("output_config")).get("format")) or mapping(
        raw.get("output_format")
    )
    if wanted.get("type") != "json_schema":
        return None
    return OutputFormat(kind="json_schema", schema=mapping(wanted.get("schema")), strict=True)


def _sampling(raw: Mapping[str, Any]) -> Sampling:
    return Sampling(
        temperature=number(raw.get("temperature")),
        top_p=number(raw.get("top_p")),
        top_k=integer(raw.get("top_k")),
        max_tokens=output_limit(raw.get("max_tokens")),
        stop=stop_texts(raw.get("stop_sequences")),
    )
