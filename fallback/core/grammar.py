"""What the local model's output must look like, as a grammar for llguidance.

- Structured output: JSON that the schema admits, from the first character on.
- A tool call that the client insists on: one call (several, where it allows that) and nothing
  else.
- Tools that may be called: free text, and once `<tool_call>` is written, only valid calls to
  the end. The text itself cannot hold `<tool_call>`.
- Otherwise none: the output is free.

Each call has the name of a tool that is there and arguments by that tool's own schema. Custom
tools get any text: their own grammars would have to hold inside a JSON string.

JSON is written without optional white space: small models loop on it. Keywords, string formats
and patterns that llguidance does not know are ignored rather than refused, so that a tool is not
lost for the detail; `oneOf` is taken as `anyOf`. The syntax is that of
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md and json_schema.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from fallback.core.answer import PartialAnswer, SaidCall
from fallback.core.conversation import Conversation, OutputFormat, Tool
from fallback.core.errors import EngineError
from fallback.core.ports import Grammar
from fallback.core.schema_order import in_order_of
from fallback.core.tool_syntax import CALL_CLOSE, CALL_OPEN, callable_tools, must_call_tools

_JSON_OPTIONS = {"whitespace_flexible": False, "lenient": True}
# Where another server began the value, it began it with the white space it likes.
_BEGUN_JSON_OPTIONS = {"whitespace_pattern": r"[ \n\r\t]{0,64}", "lenient": True}
# They say nothing about which values are admitted; an unknown `$schema` would be refused.
_ANNOTATIONS = {
    "$comment", "$schema", "default", "deprecated", "description", "example", "examples",
    "readOnly", "title", "writeOnly",
}  # fmt: skip
_NAMED_SCHEMAS = {"properties", "patternProperties", "$defs", "definitions"}
_SCHEMAS = {"items", "additionalProperties", "prefixItems", "allOf", "anyOf", "oneOf"}
# Where one of these stands, the properties of an object are not all listed in `properties`.
_OPEN_KEYWORDS = {
    "$dynamicRef", "$ref", "additionalProperties", "allOf", "anyOf", "dependentSchemas", "if",
    "oneOf", "patternProperties", "unevaluatedProperties",
}  # fmt: skip
# llguidance's regular expressions have no lookaround and no references back.
_UNKNOWN_PATTERN = re.compile(r"\(\?<?[=!]|\\[1-9]|\\k<")


def grammar_for(conversation: Conversation) -> Grammar | None:
    """The grammar of the whole answer, or `None` where it is free text.

    Whether llguidance can compile a client's schema is known only to the worker.
    """
    if tools := callable_tools(conversation):
        return _grammar(_tool_rules(conversation, tools, must=must_call_tools(conversation)))
    if conversation.output_format is not None:
        return _grammar([f"start: {_json_rule(_format_schema(conversation.output_format))}"])
    return None


def rest_grammar(conversation: Conversation, said: PartialAnswer) -> Grammar | None:
    """The grammar of what is still to come of an answer that broke off.

    It expects open arguments and structured output from their first character on, and nothing
    else of what was said. Raises `EngineError` for a call of a tool that may not be called.
    """
    tools = callable_tools(conversation)
    if (call := said.open_call) is not None:
        return _grammar(_open_call_rules(conversation, tools, call))
    if said.parts and isinstance(said.parts[-1], SaidCall):
        more = _more(conversation) if tools else '""'
        return _grammar([f"start: {more}", *_call_rules(tools)])
    if tools:
        must = must_call_tools(conversation) and not said.calls
        return _grammar(_tool_rules(conversation, tools, must=must))
    if conversation.output_format is not None:
        schema = _format_schema(conversation.output_format)
        return _grammar([f"start: {_begun_json_rule(schema, said.text)}"])
    return None


def _grammar(rules: Iterable[str]) -> Grammar:
    return Grammar(lark="\n".join([*rules, ""]))


def _tool_rules(
    conversation: Conversation, tools: tuple[Tool, ...], *, must: bool
) -> Iterator[str]:
    if must:
        yield f"start: {_json(CALL_OPEN)} call {_more(conversation)}"
    else:
        yield f"start: TEXT | opening call {_more(conversation)}"
        yield f"TEXT: /(?s:.*)/ & ~/(?s:.*){CALL_OPEN}(?s:.*)/"
        yield f"opening[lazy]: /(?s:.*){CALL_OPEN}/"
    yield from _call_rules(tools)


def _open_call_rules(
    conversation: Conversation, tools: tuple[Tool, ...], call: SaidCall
) -> Iterator[str]:
    tool = next((tool for tool in tools if tool.name == call.name), None)
    if tool is None:
        raise EngineError(f"the answer broke off in a call of {call.name}, which is not offered")
    yield f"start: begun {_CALL_END} {_more(conversation)}"
    yield f"begun: {_begun_json_rule(_input_schema(tool), call.arguments)}"
    yield from _call_rules(tools)


def _more(conversation: Conversation) -> str:
    return "more*" if conversation.tool_choice.parallel else '""'


def _call_rules(tools: tuple[Tool, ...]) -> Iterator[str]:
    if not tools:
        return
    yield f"more: {_NEWLINE} {_json(CALL_OPEN)} call"
    names = " | ".join(f"call_{i}" for i in range(len(tools)))
    yield f"call: {_NEWLINE} ({names}) {_CALL_END}"
    for i, tool in enumerate(tools):
        yield f"call_{i}: {_json(_call_head(tool))} {_json_rule(_input_schema(tool))}"


def _call_head(tool: Tool) -> str:
    key = "input" if tool.kind == "custom" else "arguments"
    return f'{{"name": {_json(tool.name)}, "{key}": '


def _input_schema(tool: Tool) -> dict[str, Any]:
    if tool.kind == "custom":
        return {"type": "string"}
    return _usable({**tool.parameters, "type": "object"}, closed=True)


def _format_schema(output: OutputFormat) -> dict[str, Any]:
    if output.kind == "json_object":
        return {"type": "object"}
    return _usable(output.schema, closed=True)


def _usable(schema: Mapping[str, Any], *, closed: bool) -> dict[str, Any]:
    """The schema without what llguidance refuses and nobody would miss.

    With `closed`, objects that list properties and are silent about others get no others: all
    that is then admitted, the client's schema admits too, and a small model does not go on
    inventing. Only along `properties` and `items`, where nothing else can add properties.
    """
    usable = {
        key: _usable_value(key, value, closed=closed)
        for key, value in schema.items()
        if key not in _ANNOTATIONS and not _is_unknown_pattern(key, value)
    }
    if closed and _lists_all_properties(schema):
        usable["additionalProperties"] = False
    return usable


def _lists_all_properties(schema: Mapping[str, Any]) -> bool:
    listed, required = schema.get("properties"), schema.get("required", [])
    if not isinstance(listed, dict) or not isinstance(required, list):
        return False
    return all(name in listed for name in required) and _OPEN_KEYWORDS.isdisjoint(schema)


def _usable_value(key: str, value: Any, *, closed: bool) -> Any:
    closed = closed and key in ("properties", "items")
    if key in _NAMED_SCHEMAS and isinstance(value, dict):
        return {name: _usable_schema(found, closed=closed) for name, found in value.items()}
    if key in _SCHEMAS and isinstance(value, list):
        return [_usable_schema(found, closed=False) for found in value]
    return _usable_schema(value, closed=closed) if key in _SCHEMAS else value


def _usable_schema(value: Any, *, closed: bool) -> Any:
    return _usable(value, closed=closed) if isinstance(value, dict) else value


def _is_unknown_pattern(key: str, value: Any) -> bool:
    return key == "pattern" and isinstance(value, str) and bool(_UNKNOWN_PATTERN.search(value))


def _json_rule(schema: Mapping[str, Any], options: Mapping[str, Any] = _JSON_OPTIONS) -> str:
    return f"%json {_json({**schema, 'x-guidance': options})}"


def _begun_json_rule(schema: Mapping[str, Any], begun: str) -> str:
    return _json_rule(in_order_of(begun, schema), _BEGUN_JSON_OPTIONS)


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


_NEWLINE, _CALL_END = _json("\n"), _json(f"}}\n{CALL_CLOSE}")
