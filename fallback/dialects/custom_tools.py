"""Custom tools, which take free text, for servers that only know functions.

Only the Responses API has custom tools everywhere; elsewhere each is offered as a function of
one string, `{"input": "<the text>"}`, and its calls are unwrapped as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Container

from fallback.core.conversation import Tool, ToolCall
from fallback.core.json_scan import StringScanner
from fallback.dialects.jsonvalues import dump_text, is_object

_PARAMETERS = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
    "additionalProperties": False,
}
_HEAD = re.compile(r'\s*\{\s*"input"\s*:\s*(?=")')


def as_function(tool: Tool) -> Tool:
    """The tool as a function; one that is a function already stays as it is."""
    if tool.kind == "function":
        return tool
    grammar = f"The text must follow this {tool.grammar_syntax} grammar:\n{tool.grammar}"
    told = [tool.description, grammar if tool.grammar else ""]
    return Tool(name=tool.name, description="\n\n".join(filter(None, told)), parameters=_PARAMETERS)


def custom_names(tools: tuple[Tool, ...]) -> frozenset[str]:
    """The names of the custom tools among `tools`."""
    return frozenset(tool.name for tool in tools if tool.kind == "custom")


def json_arguments(call: ToolCall, custom: Container[str]) -> str:
    """The arguments of a past call as a JSON object. What is none was free text."""
    arguments = call.arguments or "{}"
    if call.name not in custom and is_object(arguments):
        return arguments
    return dump_text({"input": call.arguments})


class Unwrapper:
    """The text in the arguments of a custom tool's call, while they are being written."""

    def __init__(self) -> None:
        self._held = ""
        self._scanner: StringScanner | None = None

    def feed(self, arguments: str) -> str:
        """What of the text is known now."""
        if self._scanner is None:
            self._held += arguments
            if (head := _HEAD.match(self._held)) is None:
                return ""
            self._scanner, arguments = StringScanner(), self._held[head.end() :]
        return "" if self._scanner.done else self._scanner.feed(arguments)[0]

    def finish(self) -> str:
        """The arguments as they are, where they were not of the form that was asked for."""
        return self._held if self._scanner is None else ""
