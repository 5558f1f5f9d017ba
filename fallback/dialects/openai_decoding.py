"""What the decoders of the two OpenAI dialects share: tools, tool choice, attachments.

Chat Completions nests what Responses writes flat: `{"type": "function", "function": {"name":
...}}` and `{"type": "function", "name": ...}`. `spec` levels that, so one reader serves both.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from fallback.core.conversation import Attachment, OutputFormat, Tool, ToolChoice
from fallback.dialects.decoding import possible_choice
from fallback.dialects.jsonvalues import boolean, mapping, objects, optional_string, string

_MODES: Mapping[str, Literal["none", "required"]] = {"none": "none", "required": "required"}
_SYNTAXES: Mapping[str, Literal["lark", "regex"]] = {"lark": "lark", "regex": "regex"}
_ATTACHMENTS: Mapping[str, Literal["image", "audio", "file"]] = {
    "image_url": "image",
    "input_image": "image",
    "computer_screenshot": "image",
    "input_audio": "audio",
    "file": "file",
    "input_file": "file",
}


def spec(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an entry says, whether nested under the name of its type or flat."""
    return mapping(entry.get(string(entry.get("type")))) or entry


def tool(entry: Mapping[str, Any]) -> Tool | None:
    """A function or custom tool; `None` for the provider's own, which have no schema."""
    inner = spec(entry)
    name, description = string(inner.get("name")), string(inner.get("description"))
    if not name:
        return None
    if entry.get("type") == "function":
        parameters = mapping(inner.get("parameters"))
        # Where the client does not say, the cloud guarantees what it can.
        strict = boolean(inner.get("strict"), False)
        return Tool(name=name, description=description, parameters=parameters, strict=strict)
    if entry.get("type") == "custom":
        return _custom_tool(name, description, spec(mapping(inner.get("format"))))
    return None


def _custom_tool(name: str, description: str, grammar: Mapping[str, Any]) -> Tool:
    syntax = _SYNTAXES.get(string(grammar.get("syntax")))
    return Tool(
        name=name,
        description=description,
        kind="custom",
        grammar_syntax=syntax,
        grammar=optional_string(grammar.get("definition")) if syntax else None,
    )


def settled_tools(
    tools: tuple[Tool, ...], choice: Any, parallel: Any
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that may be called and the choice among them, from the client's `tool_choice`."""
    wanted = spec(mapping(choice))
    if mapping(choice).get("type") == "allowed_tools":
        allowed = {string(spec(entry).get("name")) for entry in objects(wanted.get("tools"))}
        tools = tuple(tool for tool in tools if tool.name in allowed)
        choice, wanted = wanted.get("mode"), {}
    name = optional_string(wanted.get("name"))
    asked = ToolChoice(
        mode="named" if name else _MODES.get(string(choice), "auto"),
        name=name,
        parallel=boolean(parallel, True),
    )
    return tools, possible_choice(asked, tools)


def output_format(wanted: Mapping[str, Any]) -> OutputFormat | None:
    """Structured output, from `response_format` or `text.format`."""
    if wanted.get("type") == "json_object":
        return OutputFormat(kind="json_object")
    if wanted.get("type") == "json_schema":
        inner = spec(wanted)
        return OutputFormat(
            kind="json_schema",
            schema=mapping(inner.get("schema")),
            strict=boolean(inner.get("strict"), False),
        )
    return None


def attachment(part: Mapping[str, Any]) -> Attachment | None:
    """The image, audio or file in a content part; `None` if it is something else."""
    kind = _ATTACHMENTS.get(string(part.get("type")))
    if kind is None:
        return None
    inner = spec(part)
    audio_format = optional_string(inner.get("format")) if kind == "audio" else None
    url = inner.get("url") or inner.get("image_url") or inner.get("file_data")
    return Attachment(
        kind=kind,
        media_type=f"audio/{audio_format}" if audio_format else _data_url_type(string(url)),
        name=optional_string(inner.get("filename")),
    )


def _data_url_type(url: str) -> str | None:
    """The media type that a `data:` URL states (RFC 2397)."""
    scheme, _, rest = url.partition(":")
    return rest.partition(",")[0].partition(";")[0] or None if scheme == "data" else None
