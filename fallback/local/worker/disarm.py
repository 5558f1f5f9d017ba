"""A conversation whose texts steer nothing: nobody's text can end a turn or begin another's."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from fallback.core.conversation import (
    Attachment,
    Conversation,
    Part,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Turn,
)
from fallback.core.tool_formats.plain import disarm


def disarmed(conversation: Conversation, marks: re.Pattern[str]) -> Conversation:
    """The conversation with every mark in it broken up by a character that nobody sees."""
    output = conversation.output_format
    if output is not None:
        output = msgspec.structs.replace(output, schema=_value(output.schema, marks))
    return msgspec.structs.replace(
        conversation,
        system=disarm(conversation.system, marks),
        turns=tuple(_turn(turn, marks) for turn in conversation.turns),
        tools=tuple(_tool(tool, marks) for tool in conversation.tools),
        output_format=output,
    )


def _turn(turn: Turn, marks: re.Pattern[str]) -> Turn:
    return Turn(turn.role, tuple(_part(part, marks) for part in turn.parts))


def _part(part: Part, marks: re.Pattern[str]) -> Part:
    match part:
        case Text(text):
            return Text(disarm(text, marks))
        case ToolCall():
            return msgspec.structs.replace(part, arguments=disarm(part.arguments, marks))
        case ToolResult():
            return msgspec.structs.replace(part, text=disarm(part.text, marks))
        case Attachment(name=str(name)):
            return msgspec.structs.replace(part, name=disarm(name, marks))
        case _:
            return part


def _tool(tool: Tool, marks: re.Pattern[str]) -> Tool:
    return msgspec.structs.replace(
        tool,
        description=disarm(tool.description, marks),
        parameters=_value(tool.parameters, marks),
        grammar=None if tool.grammar is None else disarm(tool.grammar, marks),
    )


def _value(value: Any, marks: re.Pattern[str]) -> Any:
    if isinstance(value, str):
        return disarm(value, marks)
    if isinstance(value, dict):
        return {disarm(key, marks): _value(found, marks) for key, found in value.items()}
    return [_value(found, marks) for found in value] if isinstance(value, list) else value
