"""What the local model's output must look like, as a grammar for llguidance.

- Structured output: JSON that the schema admits, from the first character on.
- A tool call that the client insists on: one call (several, where it allows that) and nothing
  else.
- Tools that may be called: free text, and once a call is begun, only valid calls to the end.
- Otherwise none: the output is free.

Each call has the name of a tool that is there and an input by that tool's own schema or grammar.
How a call is written around its input is the tool format's business (`core.tool_formats`), what
a schema means to the engine that of `core.json_schema`.

What the engine cannot hold the output to is never let go silently. Where the client wants a
guarantee (`strict`, and its own grammars), the request is refused with the keyword and its JSON
pointer. Otherwise one detail does not cost a tool: it is taken without the detail, and
`Grammar.loosened` says so. What compiles is known only to the worker: for a schema that llguidance
refuses as a whole it takes the outline (`GrammarPart.instead`), and says so as well.

JSON is written without optional white space: small models loop on it. The syntax is that of
https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md and json_schema.md.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from fallback.core.answer import PartialAnswer, SaidCall
from fallback.core.conversation import Conversation, OutputFormat, Tool
from fallback.core.errors import BadRequest, EngineError
from fallback.core.json_schema import narrowed, outline
from fallback.core.ports import Grammar, GrammarPart
from fallback.core.schema_order import in_order_of
from fallback.core.tool_formats import GENERAL, Offer, ToolFormat
from fallback.core.tool_syntax import callable_tools, must_call_tools

_COMPACT = {"whitespace_flexible": False}
# Where another server began the value, it began it with the white space it likes.
_BEGUN = {"whitespace_pattern": r"[ \n\r\t]{0,64}"}
_KEPT_SCHEMAS = 128
# An escaped character, whatever it is, or a slash.
_SLASH = re.compile(r"\\.|/", re.DOTALL)
# Text for a tool whose own grammar the engine refuses: no line looks like the end of the call.
_FREE_LINES = r'/[^\n<][^\n]*/? ("\n" /[^\n<][^\n]*/?)*'
_OUTPUT, _BEGUN_INPUT = "output", "begun"


class _Part(NamedTuple):
    part: GrammarPart
    loosened: tuple[str, ...] = ()


def grammar_for(conversation: Conversation, format: ToolFormat = GENERAL) -> Grammar | None:
    """The grammar of the whole answer, or `None` where it is free text.

    Raises `BadRequest` where the client wants a guarantee that cannot be given.
    """
    if tools := callable_tools(conversation):
        rules = format.rules(
            _offers(tools),
            must=must_call_tools(conversation),
            parallel=conversation.tool_choice.parallel,
        )
        return _grammar(rules, _inputs(tools))
    if conversation.output_format is not None:
        output = _output(conversation.output_format)
        return _grammar(format.rules_of_output(_OUTPUT), [output])
    return None


def rest_grammar(
    conversation: Conversation, said: PartialAnswer, format: ToolFormat = GENERAL
) -> Grammar | None:
    """The grammar of what is still to come of an answer that broke off.

    It expects open input and structured output from their first character on, and nothing else
    of what was said. Raises `EngineError` for a call of a tool that may not be called,
    `BadRequest` as `grammar_for` does.
    """
    tools = callable_tools(conversation)
    offers, parallel = _offers(tools), conversation.tool_choice.parallel
    if (call := said.open_call) is not None:
        tool = _called(call, tools)
        rules = format.rules_in_call(offers, tool, _BEGUN_INPUT, parallel=parallel)
        return _grammar(rules, [_input(tool, _BEGUN_INPUT, call.arguments), *_inputs(tools)])
    if said.parts and isinstance(said.parts[-1], SaidCall):
        rules = format.rules_after_call(offers, parallel=parallel)
        return _grammar(rules, _inputs(tools))
    if tools:
        must = must_call_tools(conversation) and not said.calls
        rules = format.rules_after_text(offers, must=must, parallel=parallel)
        return _grammar(rules, _inputs(tools))
    if conversation.output_format is not None:
        return _grammar([f"start: {_OUTPUT}"], [_output(conversation.output_format, said.text)])
    return None


def _grammar(rules: Iterable[str], parts: Iterable[_Part]) -> Grammar:
    found = list(parts)
    return Grammar(
        lark="\n".join([*rules, ""]),
        parts=tuple(each.part for each in found),
        loosened=tuple(detail for each in found for detail in each.loosened),
    )


def _called(call: SaidCall, tools: Iterable[Tool]) -> Tool:
    for tool in tools:
        if tool.name == call.name:
            return tool
    raise EngineError(f"the answer broke off in a call of {call.name}, which is not offered")


def _offers(tools: Sequence[Tool]) -> list[Offer]:
    return [Offer(tool=tool, input=_rule(index)) for index, tool in enumerate(tools)]


def _inputs(tools: Sequence[Tool]) -> Iterator[_Part]:
    for index, tool in enumerate(tools):
        yield _input(tool, _rule(index))


def _rule(index: int) -> str:
    return f"input_{index}"


def _input(tool: Tool, rule: str, begun: str | None = None) -> _Part:
    about = f"the input of the tool {tool.name}"
    if tool.grammar is not None:
        part = GrammarPart(rule=rule, about=about, instead=_FREE_LINES)
        if tool.grammar_syntax == "lark":
            return _Part(msgspec.structs.replace(part, lark=tool.grammar))
        return _Part(msgspec.structs.replace(part, body=_line(rule.upper(), tool.grammar)))
    if tool.kind == "custom":
        return _json_part({"type": "string"}, rule, about, begun, strict=False)
    schema = {**tool.parameters, "type": "object"}
    return _json_part(schema, rule, about, begun, strict=tool.strict)


def _output(output: OutputFormat, begun: str | None = None) -> _Part:
    schema = {"type": "object"} if output.kind == "json_object" else output.schema
    return _json_part(schema, _OUTPUT, "the output's schema", begun, strict=output.strict)


def _json_part(
    schema: Mapping[str, Any], rule: str, about: str, begun: str | None, *, strict: bool
) -> _Part:
    if begun is not None:
        schema = in_order_of(begun, schema)
    kept = _kept(msgspec.json.encode(schema), begun is not None)
    if strict and kept.loosened:
        raise BadRequest(
            f"{about} is strict, but it cannot be held to {', '.join(kept.loosened)};"
            f" leave that out, or `strict`"
        )
    instead = None if strict else kept.outline
    part = GrammarPart(rule=rule, about=about, body=kept.rule, instead=instead)
    return _Part(part, tuple(f"{about}: {detail}" for detail in kept.loosened))


class _Kept(NamedTuple):
    rule: str
    outline: str
    loosened: tuple[str, ...]


@functools.lru_cache(_KEPT_SCHEMAS)
def _kept(schema: bytes, begun: bool) -> _Kept:
    """A client sends the same tools with every turn."""
    wanted = msgspec.json.decode(schema, type=dict[str, Any])
    found, options = narrowed(wanted), _BEGUN if begun else _COMPACT
    return _Kept(
        rule=_json_rule(found.schema, options),
        outline=_json_rule(outline(found.schema), options),
        loosened=tuple(map(str, found.loosened)),
    )


def _json_rule(schema: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    return f"%json {msgspec.json.encode({**schema, 'x-guidance': options}).decode()}"


def _line(terminal: str, pattern: str) -> str:
    """One line that follows a client's regular expression: the text behind it begins with another
    and would be taken for a part of it."""
    escaped = _SLASH.sub(lambda found: found[0] if len(found[0]) > 1 else r"\/", pattern)
    return f"{terminal}\n{terminal}: /{escaped}/ & /[^\\n]*/"
