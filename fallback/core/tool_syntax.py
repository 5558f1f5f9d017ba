"""How a general instruct model is told of tools, and how its calls are written.

The form is the one that most open models have seen ("Hermes" style):

    <tool_call>
    {"name": "<name>", "arguments": {...}}
    </tool_call>

A custom tool takes free text: `{"name": "<name>", "input": "<text>"}`. `grammar` constrains
what this file describes, and `answer_parser` reads it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fallback.core.conversation import Conversation, Tool, ToolCall, ToolChoice, ToolResult

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"


def may_call_tools(conversation: Conversation) -> bool:
    """Whether the answer may hold tool calls.

    A structured output leaves no room for a call, unless the client insists on one.
    """
    if not conversation.tools or conversation.tool_choice.mode == "none":
        return False
    return conversation.output_format is None or must_call_tools(conversation)


def must_call_tools(conversation: Conversation) -> bool:
    """Whether the answer has to be a tool call."""
    return bool(conversation.tools) and conversation.tool_choice.mode in ("required", "named")


def callable_tools(conversation: Conversation) -> tuple[Tool, ...]:
    """The tools that the answer may call, each name once.

    A choice that names a tool which is not there leaves them all.
    """
    if not may_call_tools(conversation):
        return ()
    by_name = {tool.name: tool for tool in conversation.tools}
    choice = conversation.tool_choice
    if choice.mode == "named" and choice.name in by_name:
        return (by_name[choice.name],)
    return tuple(by_name.values())


def describe_tools(tools: tuple[Tool, ...], choice: ToolChoice) -> str:
    """Text for the system prompt: how to call, what there is, what must be called."""
    if not tools or choice.mode == "none":
        return ""
    custom = any(tool.kind == "custom" for tool in tools)
    lines = [
        "# Tools",
        "",
        "You can call tools. A call is written exactly like this:",
        call_text("tool-name", '{"parameter": "value"}'),
        *(_CUSTOM_FORM if custom else ()),
        "The result comes back between <tool_response> and </tool_response>.",
        _demand(choice),
        "",
        *_descriptions(tools),
    ]
    return "\n".join(lines)


def call_text(name: str, arguments: str) -> str:
    """A call of a function tool, as the model writes it. `arguments` is JSON text."""
    return f'{CALL_OPEN}\n{{"name": {_json(name)}, "arguments": {arguments}}}\n{CALL_CLOSE}'


def custom_call_text(name: str, text: str) -> str:
    """A call of a custom tool, as the model writes it. `text` is free text."""
    return f'{CALL_OPEN}\n{{"name": {_json(name)}, "input": {_json(text)}}}\n{CALL_CLOSE}'


def past_call_text(call: ToolCall) -> str:
    """A call of an earlier turn. What is not a JSON object was free text."""
    arguments = call.arguments or "{}"
    as_function = arguments.lstrip().startswith("{")
    return (call_text if as_function else custom_call_text)(call.name, arguments)


def result_text(result: ToolResult) -> str:
    """What a tool gave back, as the model reads it."""
    note = "error: " if result.is_error else ""
    return f"<tool_response>\n{note}{result.text}\n</tool_response>"


def _demand(choice: ToolChoice) -> str:
    if choice.mode == "named":
        return f"Answer now with a call of the tool {choice.name} and nothing else."
    if choice.mode == "required":
        return "Answer now with a tool call and nothing else."
    return "Call a tool only where it is needed; otherwise answer in plain text."


def _descriptions(tools: Iterable[Tool]) -> Iterable[str]:
    for tool in tools:
        yield f"## {tool.name}"
        if tool.description:
            yield tool.description
        custom = tool.kind == "custom"
        yield "Input: free text" if custom else f"Arguments: {_json(tool.parameters)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_CUSTOM_FORM = (
    "A tool that takes free text is called like this:",
    custom_call_text("tool-name", "the text"),
)
