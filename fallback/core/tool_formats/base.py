"""What a tool format is: how a family of models is told of tools, writes calls and reasons.

Rules of this package:
- A format is pure text, both ways. Tokens that steer the model and have a meaning in a format
  (`[TOOL_CALLS]`) count as their text: `markup` names them, and whoever renders, tokenizes or
  constrains an answer treats them so. No grammar here names a token.
- A format gives the grammar rules *around* a call's input; the input's own rule comes from
  `core.grammar`, which knows schemas and no format. Rules here are called `start`, or begin with
  `call`, `more`, `text`, `TEXT`, `thought` or `opening`: other names are free.
- What a format's rules admit, its reader reads back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, Protocol, TypeAlias

import msgspec

from fallback.core.answer import AnswerEvent, PartialAnswer, StopReason
from fallback.core.conversation import Conversation, Tool, ToolCall, ToolChoice, ToolResult

InputForm: TypeAlias = Literal["object", "string", "raw"]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the answer may call, and the name of the grammar rule of its input alone: a
    JSON object, a JSON string or raw text, as `input_form` says."""

    tool: Tool
    input: str


class AnswerReader(Protocol):
    """Turns a model's text, in whatever pieces, into text, thinking and tool-call events."""

    def resume(self, answer: PartialAnswer) -> None:
        """Read on behind what the client already has. Call it before anything is fed."""
        ...

    def feed(self, text: str) -> list[AnswerEvent]:
        """The events that `text` completes."""
        ...

    def finish(self, reason: StopReason) -> tuple[list[AnswerEvent], StopReason]:
        """The last events, and the reason of the end in the light of the calls made."""
        ...


class ToolFormat(Protocol):
    """One format. All methods are pure."""

    @property
    def name(self) -> str:
        """What status and configuration call it."""
        ...

    @property
    def markup(self) -> frozenset[str]:
        """Texts of control tokens that stand in an answer and mean something there."""
        ...

    @property
    def native(self) -> bool:
        """Whether the model's template shows tools, calls and results itself."""
        ...

    @property
    def several(self) -> bool:
        """Whether an answer can hold more than one call."""
        ...

    @property
    def thought(self) -> tuple[str, str]:
        """What reasoning in front of an answer begins with, and what the answer proper does."""
        ...

    @property
    def output_head(self) -> str:
        """What stands before a structured output."""
        ...

    def takes(self, tools: Sequence[Tool]) -> bool:
        """Whether calls of all of these can be written in it."""
        ...

    def evidence(self, name: str) -> tuple[str, ...]:
        """What a template that knows the format writes for a call of the function `name`, in
        this order and with any white space."""
        ...

    # -- to the model ------------------------------------------------------------------------

    def describe(self, tools: Sequence[Tool], choice: ToolChoice) -> str:
        """Text for the system prompt: how to call, what there is, what must be called. Empty
        without tools."""
        ...

    def call_text(self, call: ToolCall, form: InputForm) -> str:
        """A call of an earlier turn, as the model would have written it."""
        ...

    def result_text(self, result: ToolResult) -> str:
        """What a tool gave back, as the model reads it."""
        ...

    def partial_text(self, answer: PartialAnswer, conversation: Conversation) -> tuple[str, int]:
        """An answer to `conversation` that broke off, as the model would have written it, and
        where in it the open input begins: at its end if none is open."""
        ...

    def prefill_text(self, text: str) -> str:
        """The beginning of the answer as the client wrote it, as the model would have."""
        ...

    # -- the grammar -------------------------------------------------------------------------

    def rules(self, offers: Sequence[Offer], *, must: bool, parallel: bool) -> Iterator[str]:
        """The rules of a whole answer: with `must` a call, else text or text and a call; with
        `parallel` any number of them."""
        ...

    def rules_after_text(
        self, offers: Sequence[Offer], *, must: bool, parallel: bool
    ) -> Iterator[str]:
        """The rules of the rest of an answer that broke off in its text."""
        ...

    def rules_in_call(
        self, offers: Sequence[Offer], tool: Tool, begun: str, *, parallel: bool
    ) -> Iterator[str]:
        """The rules of an answer's rest that begins with the input of an open call of `tool`;
        `begun` names the rule of that input, from its first character on."""
        ...

    def rules_after_call(self, offers: Sequence[Offer], *, parallel: bool) -> Iterator[str]:
        """The rules of what may follow a whole call."""
        ...

    def rules_of_output(self, output: str) -> Iterator[str]:
        """The rules of an answer that is a structured output, whose rule is named `output`."""
        ...

    # -- from the model ----------------------------------------------------------------------

    def reader(self, conversation: Conversation, call_id: Callable[[int], str]) -> AnswerReader:
        """A reader of one answer. `call_id` makes the id of the n-th call, counted from 0."""
        ...


def input_form(tool: Tool) -> InputForm:
    """How a call holds the tool's input: a custom tool's as it is where the client gave it a
    grammar (which would not hold inside a JSON string), else as one string."""
    if tool.kind == "function":
        return "object"
    return "string" if tool.grammar is None else "raw"
