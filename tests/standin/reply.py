"""What the stand-in says, before any dialect: a pure function of what was asked.

Marks in the last user message steer it: `[[call NAME]]` calls that tool (`[[call]]` the first),
`[[think]]` reasons first, `[[say TEXT]]` answers TEXT, `[[long N]]` answers N words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT_TEXT = "The cloud stand-in is well, and this is its answer."

_MARK = re.compile(r"\[\[(call|think|say|long)(?: ([^\]]*))?\]\]")


@dataclass(frozen=True, kw_only=True)
class ToolSpec:
    """A tool of the request; a `custom` one takes free text."""

    name: str
    parameters: Mapping[str, Any]
    custom: bool = False


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What matters of a request. `forced` is a tool's name, or "" for any tool.

    `results` are the tool results after the last assistant turn: with some, the answer is text.
    """

    text: str
    tools: tuple[ToolSpec, ...] = ()
    forced: str | None = None
    schema: Mapping[str, Any] | None = None
    thinking: bool = False
    results: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Call:
    """A tool call: JSON text, or free text for a custom tool."""

    name: str
    arguments: str
    custom: bool = False


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer: reasoning, text, calls; any of them may be empty."""

    thinking: str = ""
    text: str = ""
    calls: tuple[Call, ...] = ()

    @property
    def output_tokens(self) -> int:
        """A made-up but repeatable count."""
        said = [self.thinking, self.text, *(call.arguments for call in self.calls)]
        return sum(len(pieces(part)) for part in said) + len(self.calls)


def compose(ask: Ask) -> Reply:
    """The answer to `ask`."""
    marks = _MARK.findall(ask.text)
    thinks = ask.thinking or _marked(marks, "think") is not None
    thinking = "Two and two are four." if thinks else ""
    if calls := _calls(ask, marks):
        return Reply(thinking=thinking, text="Let me look.", calls=calls)
    return Reply(thinking=thinking, text=_text(ask, marks))


def pieces(text: str) -> list[str]:
    """The text as a stream's deltas: words with the space before them."""
    return re.findall(r"\s*\S+\s*$|\s*\S+", text)


def sample(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None) -> Any:
    """The simplest value that the JSON Schema admits (the part of it that clients use)."""
    root = schema if root is None else root
    if "$ref" in schema:
        return sample(_resolve(schema["$ref"], root), root)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if "enum" in schema:
        return schema["enum"][0]
    for key in ("anyOf", "oneOf", "allOf"):
        if key in schema:
            return sample(schema[key][0], root)
    return _sample_typed(schema, root)


def _sample_typed(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Any:
    kind = schema.get("type", "object")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        wanted = schema.get("required", list(schema.get("properties", {})))
        return {name: sample(schema["properties"][name], root) for name in wanted}
    if kind == "array":
        return [sample(schema.get("items", {"type": "string"}), root)] * schema.get("minItems", 1)
    if kind == "string":
        return "Paris"
    if kind in ("integer", "number"):
        return schema.get("minimum", 7)
    return True if kind == "boolean" else None


def _resolve(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for step in ref.removeprefix("#/").split("/"):
        node = node[step]
    return node if isinstance(node, Mapping) else {}


def _marked(marks: Sequence[tuple[str, str]], name: str) -> str | None:
    return next((argument for mark, argument in marks if mark == name), None)


def _calls(ask: Ask, marks: Sequence[tuple[str, str]]) -> tuple[Call, ...]:
    if ask.results or not ask.tools:
        return ()
    names = [argument for mark, argument in marks if mark == "call"]
    if not names and ask.forced is not None:
        names = [ask.forced]
    by_name = {tool.name: tool for tool in ask.tools}
    return tuple(_call(by_name.get(name, ask.tools[0])) for name in names)


def _call(tool: ToolSpec) -> Call:
    arguments = "Paris" if tool.custom else json.dumps(sample(tool.parameters))
    return Call(name=tool.name, arguments=arguments, custom=tool.custom)


def _text(ask: Ask, marks: Sequence[tuple[str, str]]) -> str:
    if ask.schema is not None:
        return json.dumps(sample(ask.schema))
    if ask.results:
        return "The tool said: " + " / ".join(ask.results)
    if (words := _marked(marks, "long")) is not None:
        return " ".join(f"word{n}" for n in range(int(words)))
    return _marked(marks, "say") or DEFAULT_TEXT
