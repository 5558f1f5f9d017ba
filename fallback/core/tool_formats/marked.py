"""Formats whose calls are JSON behind a mark in the answer's text: all but harmony.

    <lead text> MARK after_mark CALL between CALL ... end

A call is `head INPUT tail`. What the families differ in are these few texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from fallback.core.answer import PartialAnswer, SaidCall
from fallback.core.conversation import Conversation, Text, Tool, ToolCall, ToolChoice, ToolResult
from fallback.core.tool_formats import telling
from fallback.core.tool_formats.base import InputForm, Offer, input_form
from fallback.core.tool_formats.expected import Expected
from fallback.core.tool_formats.inputs import json_text, open_input, past_form, whole_input
from fallback.core.tool_formats.lark import EMPTY, literal, pattern, without
from fallback.core.tool_formats.plain import broken_up
from fallback.core.tool_formats.reading import THINK_CLOSE, THINK_OPEN, MarkedReader

CALL_OPEN = "<tool_call>"
CALL_CLOSE = "</tool_call>"
# Whatever the format, an answer may have to be written in the general one.
GENERAL_MARKUP = frozenset({CALL_OPEN, CALL_CLOSE, THINK_OPEN, THINK_CLOSE})

_THOUGHT = rf"\s*{pattern(THINK_OPEN)}"


class Marked:
    """One format of the kind, and how its reader sees it. Subclasses say what is different."""

    name: ClassVar[str]
    native: ClassVar[bool] = True
    mark: ClassVar[str]
    bare: ClassVar[bool] = False
    after_mark: ClassVar[str] = ""
    between: ClassVar[str] = ""
    end: ClassVar[str] = ""
    raw_close: ClassVar[str] = ""
    several: ClassVar[bool] = True
    markup: ClassVar[frozenset[str]] = GENERAL_MARKUP
    thought: ClassVar[tuple[str, str]] = (THINK_OPEN, THINK_CLOSE)
    output_head: ClassVar[str] = ""
    named: ClassVar[Expected] = Expected(' { "name" : <NAME>')
    joined: ClassVar[Expected | None] = None

    @property
    def _opening(self) -> str:
        """What calls begin with behind text."""
        return self.mark + self.after_mark

    @property
    def _first_opening(self) -> str:
        """What they begin with where nothing is before them."""
        return "" if self.bare else self._opening

    # -- what subclasses say -----------------------------------------------------------------

    def head(self, name: str, form: InputForm) -> str:
        """A call up to its input."""
        raise NotImplementedError

    def head_rule(self, name: str, form: InputForm) -> str:
        """The head, and what else the model may write there, as grammar."""
        return literal(self.head(name, form))

    def tail(self, form: InputForm) -> str:
        """A call from its input to its end."""
        raise NotImplementedError

    def tail_rule(self, form: InputForm) -> str:
        """The tail, and what else the model may write there, as grammar."""
        return literal(self.tail(form))

    def keyed(self, form: InputForm) -> Expected:
        """A call from its tool's name to its input."""
        raise NotImplementedError

    def closed(self, form: InputForm) -> Expected:
        """A call from its input to its end, as the model may write it."""
        raise NotImplementedError

    def takes(self, tools: Sequence[Tool]) -> bool:
        """Whether calls of all of these can be written in it."""
        return all(input_form(tool) != "raw" for tool in tools)

    def evidence(self, name: str) -> tuple[str, ...]:
        """What a template that knows the format writes for a call, in this order."""
        return (self._first_opening + self.head(name, "object"),)

    # -- to the model ------------------------------------------------------------------------

    def describe(self, tools: Sequence[Tool], choice: ToolChoice) -> str:
        """Text for the system prompt: how to call, what there is, what must be called."""
        return telling.describe(self.call_text, tools, choice)

    def call_text(self, call: ToolCall, form: InputForm) -> str:
        """A call of an earlier turn, as the model would have written it."""
        written = whole_input(call.arguments, form)
        head, tail = self.head(call.name, form), self.tail(form)
        return f"{self._first_opening}{head}{written}{tail}{self.end}"

    def result_text(self, result: ToolResult) -> str:
        """What a tool gave back, as the model reads it."""
        return telling.result_text(result)

    def partial_text(self, answer: PartialAnswer, conversation: Conversation) -> tuple[str, int]:
        """An answer that broke off, as the model would have written it, and where in it the
        open input begins: at its end if none is open."""
        text, before = "", None
        for part in answer.parts:
            if isinstance(part, Text):
                closed = f"{self.end}\n" if isinstance(before, SaidCall) else ""
                text += closed + ("\n" if isinstance(before, Text) else "")
                text += broken_up(part.text, self.markup)
            else:
                lead = f"\n{self._opening}" if text else self._first_opening
                text += self.between if isinstance(before, SaidCall) else lead
                form = _form(part, conversation.tools)
                text += self.head(part.name, form)
                if not part.whole:
                    return text + open_input(part.arguments, form), len(text)
                text += whole_input(part.arguments, form) + self.tail(form)
            before = part
        return text, len(text)

    def prefill_text(self, text: str) -> str:
        """The beginning of the answer as the client wrote it."""
        return text

    # -- the grammar -------------------------------------------------------------------------

    def rules(self, offers: Sequence[Offer], *, must: bool, parallel: bool) -> Iterator[str]:
        """The rules of a whole answer."""
        if must:
            yield f"start: {literal(self._first_opening)} call_s"
        else:
            bare = "| call_s" if self.bare else ""
            yield f"start: thought? ( TEXT | opening call_s {bare} )"
            yield rf"thought[lazy]: /{_THOUGHT}(?s:.*){pattern(THINK_CLOSE)}/"
            beginnings = [_THOUGHT, r'\s*\{\s*"name"'] if self.bare else [_THOUGHT]
            yield from self._text_rules(beginnings)
        yield from self._call_rules(offers, parallel=parallel)

    def rules_after_text(
        self, offers: Sequence[Offer], *, must: bool, parallel: bool
    ) -> Iterator[str]:
        """The rules of the rest of an answer that broke off in its text."""
        if must:
            yield f"start: {literal(self._opening)} call_s"
        else:
            yield "start: TEXT | opening call_s"
            yield from self._text_rules([])
        yield from self._call_rules(offers, parallel=parallel)

    def rules_in_call(
        self, offers: Sequence[Offer], tool: Tool, begun: str, *, parallel: bool
    ) -> Iterator[str]:
        """The rules of an answer's rest that begins with the input of an open call."""
        yield f"start: {begun} {self.tail_rule(input_form(tool))} more_s"
        yield from self._call_rules(offers, parallel=parallel)

    def rules_after_call(self, offers: Sequence[Offer], *, parallel: bool) -> Iterator[str]:
        """The rules of what may follow a whole call."""
        yield "start: more_s"
        yield from self._call_rules(offers, parallel=parallel)

    def rules_of_output(self, output: str) -> Iterator[str]:
        """The rules of an answer that is a structured output."""
        yield f"start: {output}"

    def _text_rules(self, beginnings: Sequence[str]) -> Iterator[str]:
        """Text without calls, and text up to where calls begin."""
        yield f"TEXT: {without([self.mark], beginnings)}"
        opening = " & ".join(
            [rf"/(?s:.*){pattern(self.mark)}/", *(rf"~/{begun}(?s:.*)/" for begun in beginnings)]
        )
        yield f"OPENING: {opening}"
        after = f" {literal(self.after_mark)}" if self.after_mark else ""
        yield f"opening: opening_mark{after}"
        yield "opening_mark[lazy]: OPENING"

    def _call_rules(self, offers: Sequence[Offer], *, parallel: bool) -> Iterator[str]:
        end = literal(self.end) if self.end else EMPTY
        if not offers:
            yield f"more_s: {end}"
            return
        if parallel and self.several:
            yield f"more_s: more* {end}"
            yield f"more: {literal(self.between)} call"
        else:
            yield f"more_s: {end}"
        yield "call_s: call more_s"
        yield "call: " + " | ".join(f"call_{i}" for i in range(len(offers)))
        for i, offer in enumerate(offers):
            form = input_form(offer.tool)
            head = self.head_rule(offer.tool.name, form)
            yield f"call_{i}: {head} {offer.input} {self.tail_rule(form)}"

    # -- from the model ----------------------------------------------------------------------

    def reader(self, conversation: Conversation, call_id: Callable[[int], str]) -> MarkedReader:
        """A reader of one answer."""
        return MarkedReader(self, conversation, call_id)


def _form(call: SaidCall, tools: Sequence[Tool]) -> InputForm:
    if call.kind == "function":
        return "object"
    return past_form(ToolCall(id="", name=call.name, arguments=call.arguments), tools)


def named(name: str) -> str:
    """The beginning of a call as a JSON object."""
    return f'{{"name": {json_text(name)}'
