"""The neutral form of an answer: the events that an encoder turns into a dialect's bytes.

Order, which `tests` hold for every producer: `Started`, then any number of text, thinking and
tool-call events, then exactly one `Finished`. Tool-call events of one call are contiguous:
`ToolCallStarted`, deltas, `ToolCallEnded`.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

from fallback.core.conversation import Text

StopReason: TypeAlias = Literal["end", "stop_sequence", "max_tokens", "tool_calls", "refusal"]
CallKind: TypeAlias = Literal["function", "custom"]
CutKind: TypeAlias = Literal[
    "tools", "tool_descriptions", "turns", "system", "tool_results", "last_turn"
]


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens, counted with the vocabulary of the model that answered."""

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that fitting took away: what, and how many of it."""

    what: CutKind
    count: int
    tokens: int


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """The engine accepted the request; the prompt as fitted has `input_tokens` tokens."""

    input_tokens: int
    cuts: tuple[Cut, ...] = ()
    loosened: tuple[str, ...] = ()


class TextDelta(msgspec.Struct, frozen=True, tag="text"):
    """More of the answer's text; never empty, always whole characters."""

    text: str


class ThinkingDelta(msgspec.Struct, frozen=True, tag="thinking"):
    """More of the model's reasoning, apart from the answer."""

    text: str


class ToolCallStarted(msgspec.Struct, frozen=True, kw_only=True, tag="tool_started"):
    """A call of the tool `name` begins; `id` is ours, unique in the answer."""

    id: str
    name: str
    kind: CallKind = "function"


class ToolCallDelta(msgspec.Struct, frozen=True, tag="tool_delta"):
    """More of the arguments of the open call (JSON text, or free text for a custom tool)."""

    arguments: str


class ToolCallEnded(msgspec.Struct, frozen=True, tag="tool_ended"):
    """The open call is complete."""


class Finished(msgspec.Struct, frozen=True, kw_only=True, tag="finished"):
    """The end. `stop_sequence` only with the reason of that name; `refusal` is a model of the
    cloud's that would not go on."""

    reason: StopReason
    usage: Usage
    stop_sequence: str | None = None


AnswerEvent: TypeAlias = (
    Started | TextDelta | ThinkingDelta | ToolCallStarted | ToolCallDelta | ToolCallEnded | Finished
)


class SaidCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call of the tool `name` in an answer that broke off; `whole` if its arguments did not."""

    name: str
    kind: CallKind
    arguments: str
    whole: bool


class PartialAnswer(msgspec.Struct, frozen=True):
    """An answer that broke off, in the order it was given. Only the last part may be open."""

    parts: tuple[Text | SaidCall, ...] = ()

    @property
    def text(self) -> str:
        """All its text."""
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def calls(self) -> tuple[SaidCall, ...]:
        """Its tool calls."""
        return tuple(part for part in self.parts if isinstance(part, SaidCall))

    @property
    def open_call(self) -> SaidCall | None:
        """The call that broke off in its arguments."""
        return next((call for call in self.calls if not call.whole), None)
