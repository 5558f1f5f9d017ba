"""OpenAI Responses: a request's body -> a conversation.

Source: https://platform.openai.com/docs/api-reference/responses and the types of the `openai`
package. The input is a list of items, finer than messages: a call, its result and a piece of
reasoning are items of their own, so those of one role that follow each other make one turn.
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
    ToolCall,
    ToolResult,
    Turn,
)
from fallback.core.errors import BadRequest
from fallback.dialects.decoding import (
    called_names,
    joined,
    lift_system,
    output_limit,
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
    string,
)
from fallback.dialects.openai_decoding import attachment, output_format, settled_tools, tool

Role = Literal["system", "user", "assistant"]

_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "assistant": "assistant",
}
_CALL, _OUTPUT = "_call", "_call_output"


def conversation(raw: Mapping[str, Any]) -> Conversation:
    """The conversation in a decoded body. Raises `BadRequest` if there is nothing to answer."""
    spoken = _turns(_items(raw))
    if not spoken:
        raise BadRequest("`input` holds no message, call or result that can be answered")
    system, turns = lift_system(_instructions(raw.get("instructions")), spoken)
    tools, tool_choice = settled_tools(
        tuple(filter(None, map(tool, _offered(raw, called_names(turns))))),
        raw.get("tool_choice"),
        raw.get("parallel_tool_calls"),
    )
    return Conversation(
        model=string(raw.get("model")),
        system=system,
        turns=turns,
        tools=tools,
        tool_choice=tool_choice,
        output_format=output_format(mapping(mapping(raw.get("text")).get("format"))),
        sampling=_sampling(raw),
        stream=boolean(raw.get("stream"), False),
    )


def _items(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    given = raw.get("input")
    if isinstance(given, str):
        return [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise BadRequest("`input` must be a string or a list of items")
    return objects(given)


def _instructions(value: Any) -> str:
    return value if isinstance(value, str) else joined(map(gathered_text, objects(value)))


def _turns(items: list[dict[str, Any]]) -> tuple[Turn, ...]:
    turns: list[Turn] = []
    for item in items:
        role, parts = _item(item)
        is_message = _kind(item) == "message"
        if turns and turns[-1].role == role and not is_message:
            turns[-1] = Turn(role, turns[-1].parts + parts)
        elif parts or is_message:
            turns.append(Turn(role, parts))
    return tuple(turns)


def _kind(item: Mapping[str, Any]) -> str:
    return string(item.get("type")) or ("message" if "role" in item else "")


def _item(item: Mapping[str, Any]) -> tuple[Role, tuple[Part, ...]]:
    kind = _kind(item)
    if kind == "message":
        role = _ROLES.get(string(item.get("role")), "user")
        return role, tuple(_content(item.get("content")))
    if kind == "reasoning":
        return "assistant", tuple(_reasoning(item))
    if kind.endswith(_OUTPUT):
        return "user", tuple(_call_output(item))
    if kind.endswith(_CALL) and item.get("call_id"):
        return "assistant", (_call(kind, item),)
    # The provider's own calls and stored items: what text they hold is all we can use.
    return "assistant", tuple(text_parts(gathered_text(item)))


def _content(content: Any) -> Iterator[Text | Attachment]:
    if isinstance(content, str):
        yield from text_parts(content)
    for part in objects(content):
        if unseen := attachment(part):
            yield unseen
        else:
            yield from text_parts(gathered_text(part) or string(part.get("refusal")))


def _reasoning(item: Mapping[str, Any]) -> Iterator[Thinking]:
    # Without a summary there is only text that the provider alone can decrypt.
    yield Thinking(joined(map(gathered_text, [item.get("summary"), item.get("content")])))


def _call(kind: str, item: Mapping[str, Any]) -> ToolCall:
    arguments = item.get("arguments", item.get("input"))
    if not isinstance(arguments, str):
        arguments = dump_text(item.get("action") or item.get("operation") or mapping(arguments))
    return ToolCall(
        id=string(item.get("call_id")),
        name=string(item.get("name")) or kind.removesuffix(_CALL),
        arguments=arguments,
    )


def _call_output(item: Mapping[str, Any]) -> Iterator[Part]:
    output = item.get("output")
    parts = list(_content([output] if isinstance(output, dict) else output))
    yield ToolResult(
        call_id=string(item.get("call_id")) or string(item.get("id")),
        text="\n".join(part.text for part in parts if isinstance(part, Text)),
        is_error=item.get("status") == "failed",
    )
    yield from (part for part in parts if isinstance(part, Attachment))


def _offered(raw: Mapping[str, Any], called: set[str]) -> list[dict[str, Any]]:
    """The tool entries on offer: a deferred one only once it was loaded or called."""
    loaded = _loaded_tools(raw)
    in_use = called | {string(entry.get("name")) for entry in loaded}
    declared = [
        entry
        for entry in _flat(raw.get("tools"))
        if entry.get("defer_loading") is not True or string(entry.get("name")) in in_use
    ]
    names = {string(entry.get("name")) for entry in declared}
    return declared + [entry for entry in loaded if string(entry.get("name")) not in names]


def all_tools(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every tool entry in a body; one out of a namespace has the `namespace` it is from."""
    return _flat(raw.get("tools")) + _loaded_tools(raw)


def _loaded_tools(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The tools that items of the input brought in."""
    return [
        entry
        for item in objects(raw.get("input"))
        if item.get("type") in ("additional_tools", "tool_search_output")
        for entry in _flat(item.get("tools"))
    ]


def _flat(value: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for entry in objects(value):
        if entry.get("type") == "namespace":
            namespace = string(entry.get("name"))
            found += [{**inner, "namespace": namespace} for inner in objects(entry.get("tools"))]
        else:
            found.append(entry)
    return found


def _sampling(raw: Mapping[str, Any]) -> Sampling:
    return Sampling(
        temperature=number(raw.get("temperature")),
        top_p=number(raw.get("top_p")),
        top_k=integer(raw.get("top_k")),
        max_tokens=output_limit(raw.get("max_output_tokens")),
    )
