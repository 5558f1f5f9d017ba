"""The two formats of Mistral's models, by the age of their tokenizers.

    [TOOL_CALLS][{"name": "<name>", "arguments": {...}}, ...]      up to v7: Nemo, 7B, Large 2
    [TOOL_CALLS]<name>[ARGS]{...}[TOOL_CALLS]...                   v11 and later: Small 3.2

A call of the older form may end with an id, one of the newer may have it behind the name.

Source: https://github.com/mistralai/mistral-common/tree/main/src/mistral_common/tokens/tokenizers
"""

from __future__ import annotations

from typing import ClassVar

from fallback.core.tool_formats.base import InputForm
from fallback.core.tool_formats.expected import Expected
from fallback.core.tool_formats.lark import literal
from fallback.core.tool_formats.marked import GENERAL_MARKUP, Marked
from fallback.core.tool_formats.native import WRAP_CLOSE, WRAP_FORM, WRAP_OPEN, JsonCalls

_MARK, _ARGS, _CALL_ID = "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"
_ID_RULE = "/[a-zA-Z0-9]{9}/"
_ID_BEFORE, _ID_AFTER = literal(', "id": "'), literal('"}')


class MistralArray(JsonCalls):
    """The older format: all calls in one JSON array."""

    name: ClassVar[str] = "mistral"
    mark: ClassVar[str] = _MARK
    after_mark: ClassVar[str] = "["
    between: ClassVar[str] = ", "
    end: ClassVar[str] = "]"
    named: ClassVar[Expected] = Expected(' [ { "name" : <NAME>', ' { "name" : <NAME>')
    joined: ClassVar[Expected | None] = Expected(" ,", " ]")
    markup: ClassVar[frozenset[str]] = GENERAL_MARKUP | {_MARK}

    def __init__(self) -> None:
        super().__init__()
        ends = [' , "id" : <STRING> }', " }"]
        self._closed = Expected(*ends)
        self._string_closed = Expected(*(f" }}{end}" for end in ends), *ends)

    def tail_rule(self, form: InputForm) -> str:
        """The tail, perhaps with an id in it."""
        wrap = f"{literal(WRAP_CLOSE)} " if form == "string" else ""
        return f"{wrap}( {literal('}')} | {_ID_BEFORE} {_ID_RULE} {_ID_AFTER} )"


class MistralArgs(Marked):
    """The newer format: names as they are, marked off from the arguments."""

    name: ClassVar[str] = "mistral-args"
    mark: ClassVar[str] = _MARK
    between: ClassVar[str] = _MARK
    named: ClassVar[Expected] = Expected(" <WORD>", before="[")
    markup: ClassVar[frozenset[str]] = GENERAL_MARKUP | {_MARK, _ARGS, _CALL_ID}

    def head(self, name: str, form: InputForm) -> str:
        """A call up to its input."""
        return f"{name}{_ARGS}{WRAP_OPEN if form == 'string' else ''}"

    def head_rule(self, name: str, form: InputForm) -> str:
        """The head, perhaps with an id in it."""
        rest = literal(_ARGS + (WRAP_OPEN if form == "string" else ""))
        return f"{literal(name)} ( {literal(_CALL_ID)} {_ID_RULE} )? {rest}"

    def tail(self, form: InputForm) -> str:
        """A call from its input to its end."""
        return WRAP_CLOSE if form == "string" else ""

    def keyed(self, form: InputForm) -> Expected:
        """A call from its tool's name to its input."""
        return _STRING if form == "string" else _OBJECT

    def closed(self, form: InputForm) -> Expected:
        """A call from its input to its end, as the model may write it."""
        return _STRING_CLOSED if form == "string" else _CLOSED

    def evidence(self, name: str) -> tuple[str, ...]:
        """What a template that knows the format writes for a call, in this order."""
        return (_MARK + name, _ARGS + "{")


_OBJECT = Expected(f"{_ARGS} ", f"{_CALL_ID}<ID>{_ARGS} ", before="{")
_STRING = Expected(f"{_ARGS}{WRAP_FORM}", f"{_CALL_ID}<ID>{_ARGS}{WRAP_FORM}", before='"')
_CLOSED = Expected("")
_STRING_CLOSED = Expected(" }")
