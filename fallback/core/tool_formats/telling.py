"""Telling a model of tools in plain words, where its template does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from fallback.core.conversation import Tool, ToolCall, ToolChoice, ToolResult
from fallback.core.tool_formats.base import InputForm, input_form
from fallback.core.tool_formats.inputs import json_text

Write = Callable[[ToolCall, InputForm], str]

_EXAMPLES: dict[InputForm, tuple[str, str]] = {
    "object": (
        "You can call tools. A call is written exactly like this:",
        '{"parameter": "value"}',
    ),
    "string": ("A tool that takes free text is called like this:", "the text"),
    "raw": ("A tool that takes text of its own form is called like this:", "the text"),
}


def describe(write: Write, tools: Sequence[Tool], choice: ToolChoice) -> str:
    """How to call, what there is, what must be called; empty without tools."""
    if not tools or choice.mode == "none":
        return ""
    lines = [
        "# Tools",
        "",
        *_forms(write, tools),
        "The result comes back between <tool_response> and </tool_response>.",
        demand(choice),
        "",
        *_descriptions(tools),
    ]
    return "\n".join(lines)


def demand(choice: ToolChoice) -> str:
    """What the client wants of the answer."""
    if choice.mode == "named":
        return f"Answer now with a call of the tool {choice.name} and nothing else."
    if choice.mode == "required":
        return "Answer now with a tool call and nothing else."
    return "Call a tool only where it is needed; otherwise answer in plain text."


def result_text(result: ToolResult) -> str:
    """What a tool gave back."""
    return f"<tool_response>\n{noted(result)}\n</tool_response>"


def noted(result: ToolResult) -> str:
    """The result's text; a failure is told as one."""
    return f"error: {result.text}" if result.is_error else result.text


def _forms(write: Write, tools: Sequence[Tool]) -> Iterator[str]:
    wanted = {"object", *map(input_form, tools)}
    for form, (told, example) in _EXAMPLES.items():
        if form in wanted:
            yield told
            yield write(ToolCall(id="", name="tool-name", arguments=example), form)


def _descriptions(tools: Sequence[Tool]) -> Iterator[str]:
    for tool in tools:
        yield f"## {tool.name}"
        if tool.description:
            yield tool.description
        yield f"Arguments: {json_text(tool.parameters)}" if tool.kind == "function" else _text(tool)


def _text(tool: Tool) -> str:
    if tool.grammar is None:
        return "Input: free text"
    return f"Input: text that follows this {tool.grammar_syntax} grammar:\n{tool.grammar}"
