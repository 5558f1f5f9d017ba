"""How a general instruct model is told of tools, and how its calls are written.

The form is the one that most open models have seen ("Hermes" style):

    <tool_call>
    {"name": "<name>", "arguments": {...}}
    </tool_call>

A custom tool takes free text: `{"name": "<name>", "input": "<text>"}`. `grammar` constrains
what this file describes and reads back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from fallback.core.answer import (
    AnswerEvent,
    CallKind,
    PartialAnswer,
    SaidCall,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from fallback.core.conversation import (
    Conversation,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from fallback.core.json_scan import ObjectScanner, StringScanner, ValueScanner
from fallback.core.stops import held_length, split_tail

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"
THINK_OPEN = "<think>"
THINK_CLOSE = "</think>"

_CALL_HEAD = re.compile(
    r"""\s* \{ \s* "name" \s*:\s* (?P<name> "(?:[^"\\]|\\.)*" ) \s*,
        \s* "(?P<key> arguments (?= "\s*:\s*\{ ) | input (?= "\s*:\s*" ) )" \s*:\s* """,
    re.VERBOSE,
)
_KEYS = {"function": "arguments", "custom": "input"}


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


def partial_text(answer: PartialAnswer) -> tuple[str, int]:
    """An answer that broke off, as the model would have written it, and where in it the open
    arguments begin: at its end if none are open."""
    text = "\n".join(map(_part_text, answer.parts))
    if answer.open_call is None:
        return text, len(text)
    return text, len(text) - len(_open_input(answer.open_call))


def _part_text(part: Text | SaidCall) -> str:
    if isinstance(part, Text):
        return part.text
    if not part.whole:
        head = f'{CALL_OPEN}\n{{"name": {_json(part.name)}, "{_KEYS[part.kind]}": '
        return head + _open_input(part)
    if part.kind == "custom":
        return custom_call_text(part.name, part.arguments)
    return call_text(part.name, part.arguments or "{}")


def _open_input(call: SaidCall) -> str:
    """The input so far as JSON text: of a custom tool's, all but the closing quote."""
    is_custom = call.kind == "custom"
    return _json(call.arguments)[:-1] if is_custom else call.arguments.lstrip()


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


class AnswerParser:
    """Turns the engine's text, in whatever pieces, into text, thinking and tool-call events.

    Text streams at once, less what may be the beginning of a call. A call starts when its
    head is whole, for only then is it known to be one: what looked like a call and was not
    (or was cut off before), comes out as the text it is, so that nothing the model said is
    lost and no call is invented. A call that is cut off or broken later ends with what came
    of it, and the answer's reason is then never `tool_calls`.

    `call_id` makes the id of the n-th call, counted from 0.
    """

    def __init__(self, conversation: Conversation, call_id: Callable[[int], str]) -> None:
        self._kinds = {tool.name: tool.kind for tool in callable_tools(conversation)}
        self._call_id = call_id
        self._calls = 0
        self._broken = False
        self._held = ""
        self._after_markup = False
        self._arguments: list[str] = []
        self._scanner: ValueScanner = ObjectScanner()
        self._out: list[AnswerEvent] = []
        plain = conversation.output_format is not None and not self._kinds
        self._read = self._read_text if plain else self._read_start

    def __repr__(self) -> str:
        return f"AnswerParser({self._read.__name__}, calls={self._calls}, held={self._held!r})"

    def resume(self, answer: PartialAnswer) -> None:
        """Read on behind what the client already has. Call it before anything is fed."""
        self._calls = len(answer.calls)
        last = answer.parts[-1] if answer.parts else None
        if isinstance(last, SaidCall):
            self._read, self._after_markup = self._read_text, True
        if (call := answer.open_call) is not None:
            self._read, self._arguments = self._read_arguments, [call.arguments]
            self._scanner = _scanner(call.kind)
            self._scanner.feed(_open_input(call))

    def feed(self, text: str) -> list[AnswerEvent]:
        """The events that `text` completes."""
        self._held += text
        while self._read():
            pass
        return self._take_out()

    def finish(self, reason: StopReason) -> tuple[list[AnswerEvent], StopReason]:
        """The last events, and the reason of the end in the light of the calls made.

        A call that the model left unfinished by its own choice counts as cut off.
        """
        if self._read == self._read_thinking:
            self._emit(ThinkingDelta, self._held)
        elif self._read == self._read_head:
            self._emit(TextDelta, CALL_OPEN + self._held)
        elif self._read == self._read_arguments:
            self._broken = True
            self._out.append(ToolCallEnded())
        elif self._read != self._read_tail:
            self._emit(TextDelta, self._held)
        self._held = ""
        if reason == "end" and self._calls:
            reason = "max_tokens" if self._broken else "tool_calls"
        return self._take_out(), reason

    def _take_out(self) -> list[AnswerEvent]:
        out, self._out = self._out, []
        return out

    def _emit(self, kind: type[TextDelta | ThinkingDelta | ToolCallDelta], text: str) -> None:
        if text:
            self._out.append(kind(text))

    # Each reader takes what it can from the held text and says whether to read on.

    def _read_start(self) -> bool:
        begun = self._held.lstrip()
        if begun.startswith(THINK_OPEN):
            self._held = begun.removeprefix(THINK_OPEN)
            self._read = self._read_thinking
            return True
        if THINK_OPEN.startswith(begun):
            return False
        self._read = self._read_text
        return True

    def _read_thinking(self) -> bool:
        thought, closed, rest = self._held.partition(THINK_CLOSE)
        if closed:
            self._held, self._read, self._after_markup = rest, self._read_text, True
        else:
            thought, self._held = split_tail(thought, held_length(thought, (THINK_CLOSE,)))
        self._emit(ThinkingDelta, thought)
        return bool(closed)

    def _read_text(self) -> bool:
        if self._after_markup:
            self._held = self._held.lstrip()
            self._after_markup = not self._held
        if not self._kinds:
            text, self._held = self._held, ""
            self._emit(TextDelta, text)
            return False
        text, opened, rest = self._held.partition(CALL_OPEN)
        if opened:
            self._held, self._read = rest, self._read_head
            self._emit(TextDelta, text.rstrip())
            return True
        sure, maybe = split_tail(text, held_length(text, (CALL_OPEN,)))
        # White space waits too: before a call it is markup, and a text of nothing else is refused
        # by some clients' servers when it is sent back to them.
        self._emit(TextDelta, sure.rstrip())
        self._held = sure[len(sure.rstrip()) :] + maybe
        return False

    def _read_head(self) -> bool:
        head = _CALL_HEAD.match(self._held)
        if head and self._start_call(head["name"], head["key"]):
            self._held = self._held[head.end() :]
            self._read = self._read_arguments
            return True
        body, closed, rest = self._held.partition(CALL_CLOSE)
        if closed:
            self._held, self._read = rest, self._read_text
            self._emit(TextDelta, CALL_OPEN + body + closed)
        return bool(closed)

    def _start_call(self, quoted_name: str, key: str) -> bool:
        """Whether this is a call of a tool there is, in the tool's own form."""
        name = _decoded(quoted_name)
        kind = self._kinds.get(name) if isinstance(name, str) else None
        if not isinstance(name, str) or kind is None or _KEYS[kind] != key:
            return False
        self._out.append(ToolCallStarted(id=self._call_id(self._calls), name=name, kind=kind))
        self._calls += 1
        self._arguments = []
        self._scanner = _scanner(kind)
        return True

    def _read_arguments(self) -> bool:
        said, self._held = self._scanner.feed(self._held)
        self._emit(ToolCallDelta, said)
        self._arguments.append(said)
        if self._scanner.done:
            self._end_call()
            self._read = self._read_tail
        return self._scanner.done

    def _end_call(self) -> None:
        self._out.append(ToolCallEnded())
        is_function = isinstance(self._scanner, ObjectScanner)
        if is_function and _decoded("".join(self._arguments)) is None:
            self._broken = True

    def _read_tail(self) -> bool:
        """Read over what closes the call; without it, text goes on."""
        rest = self._held.lstrip().removeprefix("}").lstrip()
        if rest != CALL_CLOSE and CALL_CLOSE.startswith(rest):
            return False
        self._held, self._read = rest.removeprefix(CALL_CLOSE), self._read_text
        self._after_markup = True
        return True


def _scanner(kind: CallKind) -> ValueScanner:
    return StringScanner() if kind == "custom" else ObjectScanner()


def _decoded(text: str) -> object:
    """The JSON value; `None` where it is not JSON."""
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError:
        return None
