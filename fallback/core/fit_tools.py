"""The steps of the fitting rule that make tools smaller and drop them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from fallback.core.conversation import Conversation, Text, Tool, ToolCall
from fallback.core.exchanges import parts_of, speaks
from fallback.core.fit_steps import Result, Scale, Step
from fallback.core.relevance import relevant
from fallback.core.tool_syntax import must_call_tools

_SENTENCE_CHARS = 160
# More than this of a turn is a text that the user put in, not what the user wants.
_WORDS_CHARS = 2000

# They say nothing about which values are admitted.
_ANNOTATIONS = {
    "$comment", "$schema", "default", "deprecated", "description", "example", "examples",
    "readOnly", "title", "writeOnly",
}  # fmt: skip
_NAMED_SCHEMAS = {"properties", "patternProperties", "dependentSchemas", "$defs", "definitions"}
_VALUES = {"const", "dependentRequired", "enum", "required"}


def signatures(conversation: Conversation, scale: Scale) -> Step:
    """Reduce tools to their signatures, the last first, where that makes them smaller."""
    tools = conversation.tools
    smaller = [(i, less) for i, tool in enumerate(tools) if (less := signature(tool)) != tool][::-1]

    def cut(level: int) -> Result:
        reduced = dict(smaller[:level])
        changed = tuple(reduced.get(i, tool) for i, tool in enumerate(tools))
        return Result(msgspec.structs.replace(conversation, tools=changed))

    return Step("tool_descriptions", len(smaller), cut)


def idle_tools(conversation: Conversation, scale: Scale) -> Step:
    """Drop the tools that the conversation neither used nor is about."""
    return _dropping(conversation, _idle(conversation))


def tools(conversation: Conversation, scale: Scale) -> Step:
    """Drop the tools, but for one that has to be called; those that were used last."""
    used, staying = _used(conversation), _staying_tool(conversation)
    places = [i for i in range(len(conversation.tools)) if i != staying]
    return _dropping(
        conversation, sorted(places, key=lambda i: conversation.tools[i].name not in used)
    )


def staying_tools(conversation: Conversation, scale: Scale) -> Step:
    """Drop the tools that are left."""
    return _dropping(conversation, range(len(conversation.tools)))


def signature(tool: Tool) -> Tool:
    """The tool with the first sentence of its description, and a schema that admits the same
    values, but explains nothing."""
    sentence = re.split(r"(?<=[.!?])\s|\n", tool.description.strip(), maxsplit=1)[0]
    return msgspec.structs.replace(
        tool, description=sentence[:_SENTENCE_CHARS], parameters=_bare(tool.parameters)
    )


def _dropping(conversation: Conversation, places: Collection[int]) -> Step:
    """Drop the tools at these places, the last first."""
    order = list(places)[::-1]

    def cut(level: int) -> Result:
        gone = frozenset(order[:level])
        kept = tuple(tool for i, tool in enumerate(conversation.tools) if i not in gone)
        return Result(msgspec.structs.replace(conversation, tools=kept))

    return Step("tools", len(order), cut)


def _idle(conversation: Conversation) -> list[int]:
    wanted = _used(conversation) | relevant(conversation.tools, _users_words(conversation))
    staying = _staying_tool(conversation)
    return [i for i, t in enumerate(conversation.tools) if t.name not in wanted and i != staying]


def _used(conversation: Conversation) -> frozenset[str]:
    parts = parts_of(conversation.turns)
    return frozenset(part.name for part in parts if isinstance(part, ToolCall))


def _users_words(conversation: Conversation) -> Iterator[str]:
    """What the user said, without what an application put before it."""
    for turn in conversation.turns:
        if speaks(turn):
            texts = [part.text for part in turn.parts if isinstance(part, Text)]
            yield texts[-1][:_WORDS_CHARS]


def _staying_tool(conversation: Conversation) -> int | None:
    if not must_call_tools(conversation):
        return None
    names = [tool.name for tool in conversation.tools]
    wanted = conversation.tool_choice.name
    return names.index(wanted) if wanted in names else 0


def _bare(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _bare_value(key, value) for key, value in schema.items() if key not in _ANNOTATIONS
    }


def _bare_value(key: str, value: Any) -> Any:
    if key in _VALUES:
        return value
    if key in _NAMED_SCHEMAS and isinstance(value, dict):
        return {name: _bare_schema(schema) for name, schema in value.items()}
    if isinstance(value, list):
        return [_bare_schema(schema) for schema in value]
    return _bare_schema(value)


def _bare_schema(value: Any) -> Any:
    return _bare(value) if isinstance(value, dict) else value
