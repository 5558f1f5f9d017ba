"""The format of gpt-oss: an answer is a row of messages, each in a channel.

    <|channel|>analysis<|message|>...<|end|>                       reasoning
    <|start|>assistant<|channel|>commentary<|message|>...<|end|>   text before a call
    <|start|>assistant<|channel|>commentary to=functions.<name> <|constrain|>json<|message|>{...}
    <|start|>assistant<|channel|>final<|message|>...               the answer

The prompt ends with the first `<|start|>assistant`. After a call the turn is over. What a call
or the final message ends with, ends the answer.

Source: https://github.com/openai/harmony/blob/main/docs/format.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from fallback.core.answer import PartialAnswer
from fallback.core.conversation import Conversation, Text, Tool, ToolCall, ToolChoice, ToolResult
from fallback.core.tool_formats import telling
from fallback.core.tool_formats.base import InputForm, Offer, input_form
from fallback.core.tool_formats.harmony_marks import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    MARKS,
    MESSAGE,
    START,
)
from fallback.core.tool_formats.harmony_reading import HarmonyReader
from fallback.core.tool_formats.inputs import open_input, past_form, whole_input
from fallback.core.tool_formats.lark import EMPTY, literal, pattern, without
from fallback.core.tool_formats.marked import GENERAL_MARKUP
from fallback.core.tool_formats.native import WRAP_CLOSE, WRAP_OPEN
from fallback.core.tool_formats.plain import broken_up
from fallback.core.tool_syntax import callable_tools

_NEXT = f"{END}{START}assistant"
_AGAIN = literal(f"{START}assistant")
_FINAL = f"{CHANNEL}final{MESSAGE}"
_COMMENTARY = f"{CHANNEL}commentary{MESSAGE}"


class Harmony:
    """The harmony format."""

    name: ClassVar[str] = "harmony"
    native: ClassVar[bool] = True
    several: ClassVar[bool] = False
    markup: ClassVar[frozenset[str]] = GENERAL_MARKUP | MARKS
    thought: ClassVar[tuple[str, str]] = (f"{CHANNEL}analysis", _FINAL)
    output_head: ClassVar[str] = _FINAL

    def takes(self, tools: Sequence[Tool]) -> bool:
        """Whether calls of all of these can be written in it."""
        return all(input_form(tool) != "raw" for tool in tools)

    def evidence(self, name: str) -> tuple[str, ...]:
        """What a template that knows the format writes for a call, in this order."""
        return (f"to=functions.{name}", f"{MESSAGE}{{")

    # -- to the model ------------------------------------------------------------------------

    def describe(self, tools: Sequence[Tool], choice: ToolChoice) -> str:
        """Text for the system prompt: how to call, what there is, what must be called."""
        return telling.describe(self.call_text, tools, choice)

    def call_text(self, call: ToolCall, form: InputForm) -> str:
        """A call of an earlier turn, as the model would have written it."""
        written = whole_input(call.arguments, form)
        return f"{_to(call.name)}{_wrapped(written, form)}{CALL}"

    def result_text(self, result: ToolResult) -> str:
        """What a tool gave back, as the model reads it."""
        return telling.result_text(result)

    def partial_text(self, answer: PartialAnswer, conversation: Conversation) -> tuple[str, int]:
        """An answer that broke off, as the model would have written it, and where in it the
        open input begins: at its end if none is open."""
        last = not callable_tools(conversation) and not answer.calls
        written: list[str] = []
        for part in answer.parts:
            if isinstance(part, Text):
                head = _FINAL if last and part is answer.parts[-1] else _COMMENTARY
                written.append(head + broken_up(part.text, self.markup))
                continue
            form = past_form(_past(part.name, part.arguments), conversation.tools)
            form = "object" if part.kind == "function" else form
            if not part.whole:
                lead = _NEXT.join([*written, _to(part.name)])
                lead += WRAP_OPEN if form == "string" else ""
                return lead + open_input(part.arguments, form), len(lead)
            written.append(self.call_text(_past(part.name, part.arguments), form))
        text = _NEXT.join(written).replace(CALL + END, CALL)
        return text, len(text)

    def prefill_text(self, text: str) -> str:
        """The beginning of the answer as the client wrote it: a message of its own."""
        return f"{_COMMENTARY}{text}{_NEXT}" if text else ""

    # -- the grammar -------------------------------------------------------------------------

    def rules(self, offers: Sequence[Offer], *, must: bool, parallel: bool) -> Iterator[str]:
        """The rules of a whole answer."""
        last = "call" if must else "( call | text_last )"
        yield f"start: thought* ( text_before thought* )? {last}"
        yield f"text_before: {literal(_COMMENTARY)} text_to_end {_AGAIN}"
        yield from _common_rules(offers)

    def rules_after_text(
        self, offers: Sequence[Offer], *, must: bool, parallel: bool
    ) -> Iterator[str]:
        """The rules of the rest of an answer that broke off in its text."""
        last, alone = ("call", "") if must else ("( call | text_last )", "TEXT | ")
        yield f"start: {alone}text_to_end {_AGAIN} thought* {last}"
        yield from _common_rules(offers)

    def rules_in_call(
        self, offers: Sequence[Offer], tool: Tool, begun: str, *, parallel: bool
    ) -> Iterator[str]:
        """The rules of an answer's rest that begins with the input of an open call."""
        tail = f" {literal(WRAP_CLOSE)}" if input_form(tool) == "string" else ""
        yield f"start: {begun}{tail}"

    def rules_after_call(self, offers: Sequence[Offer], *, parallel: bool) -> Iterator[str]:
        """The rules of what may follow a whole call: nothing."""
        yield f"start: {EMPTY}"

    def rules_of_output(self, output: str) -> Iterator[str]:
        """The rules of an answer that is a structured output."""
        yield f"start: thought* {literal(_FINAL)} {output}"
        yield from _text_rules()

    # -- from the model ----------------------------------------------------------------------

    def reader(self, conversation: Conversation, call_id: Callable[[int], str]) -> HarmonyReader:
        """A reader of one answer."""
        return HarmonyReader(conversation, call_id)


def _common_rules(offers: Sequence[Offer]) -> Iterator[str]:
    yield from _text_rules()
    yield f"text_last: {literal(_FINAL)} TEXT"
    yield "call: " + (" | ".join(f"call_{i}" for i in range(len(offers))))
    yield f"call_kind: ( {literal(f' {CONSTRAIN}json')} | {literal(' json')} )?"
    for i, offer in enumerate(offers):
        to = f"to=functions.{offer.tool.name}"
        behind = f"{literal(f'{CHANNEL}commentary {to}')} call_kind"
        before = f"{literal(f' {to}{CHANNEL}commentary')} call_kind"
        held = offer.input
        if input_form(offer.tool) == "string":
            held = f"{literal(WRAP_OPEN)} {held} {literal(WRAP_CLOSE)}"
        yield f"call_{i}: ( {behind} | {before} ) {literal(MESSAGE)} {held}"


def _text_rules() -> Iterator[str]:
    yield f"TEXT: {without(MARKS)}"
    yield "text_to_end[lazy]: TEXT_TO_END"
    yield f"TEXT_TO_END: /(?s:.*){pattern(END)}/ & {without(MARKS - {END})}"
    yield f"thought: {literal(f'{CHANNEL}analysis{MESSAGE}')} text_to_end {_AGAIN}"


def _to(name: str) -> str:
    return f"{CHANNEL}commentary to=functions.{name} {CONSTRAIN}json{MESSAGE}"


def _wrapped(written: str, form: InputForm) -> str:
    return f"{WRAP_OPEN}{written}{WRAP_CLOSE}" if form == "string" else written


def _past(name: str, arguments: str) -> ToolCall:
    return ToolCall(id="", name=name, arguments=arguments)
