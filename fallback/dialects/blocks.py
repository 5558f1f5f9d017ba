"""An answer as blocks, which is how every dialect writes it: runs of text, tool calls, and
reasoning where the operator wants it shown.

Rules of this file, and so of every dialect:
- Thinking is dropped unless it is asked for. What a client gets it keeps and sends back, also to
  the cloud once that has recovered, and there reasoning that the cloud did not write is refused:
  Anthropic wants its signature, Responses an item it stored or encrypted, Chat Completions knows
  no such field. One such block may break the session for good.
- So would a text block of white space alone (Anthropic refuses it): a block opens only with its
  first visible character, and then with the white space before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import msgspec

from fallback.core.answer import (
    AnswerEvent,
    Finished,
    Started,
    StopReason,
    TextDelta,
    ThinkingDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)


class TextStarted(msgspec.Struct, frozen=True):
    """A run of text begins; it will not be empty."""


class TextEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The open run of text is complete; `reason` if the answer ends with it, and how."""

    reason: StopReason | None


class ThinkingStarted(msgspec.Struct, frozen=True):
    """A run of reasoning begins; it will not be empty."""


class ThinkingEnded(msgspec.Struct, frozen=True):
    """The open run of reasoning is complete."""


Step: TypeAlias = (
    Started
    | ThinkingStarted
    | ThinkingDelta
    | ThinkingEnded
    | TextStarted
    | TextDelta
    | TextEnded
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallEnded
    | Finished
)


class TextBlock(msgspec.Struct, frozen=True):
    """A whole run of text."""

    text: str


class ThinkingBlock(msgspec.Struct, frozen=True):
    """A whole run of reasoning."""

    text: str


class CallBlock(msgspec.Struct, frozen=True):
    """A whole tool call."""

    call: ToolCallStarted
    arguments: str


Block: TypeAlias = TextBlock | ThinkingBlock | CallBlock


class BlockStepper:
    """Turns the events of one answer into steps that open and close blocks. `text_open` if
    there is an open run of text already, `thinking` if reasoning is shown."""

    def __init__(self, *, text_open: bool = False, thinking: bool = False) -> None:
        self._text_open = text_open
        self._thinking_open = False
        self._shows_thinking = thinking
        self._blank = ""

    def __repr__(self) -> str:
        return f"<BlockStepper text={'open' if self._text_open else 'closed'}>"

    def steps(self, event: AnswerEvent) -> Iterator[Step]:
        """The steps that `event` amounts to; none for what is blank or not shown."""
        match event:
            case TextDelta(text):
                yield from self._text(text)
            case ThinkingDelta():
                yield from self._thinking(event)
            case ToolCallStarted():
                yield from self._end_run(None)
                yield event
            case Finished(reason=reason):
                yield from self._end_run(reason)
                yield event
            case Started() | ToolCallDelta() | ToolCallEnded():
                yield event

    def _text(self, text: str) -> Iterator[Step]:
        if not self._text_open:
            self._blank += text
            if self._blank.isspace():
                return
            blank = self._blank
            yield from self._end_run(None)
            self._text_open, text = True, blank
            yield TextStarted()
        yield TextDelta(text)

    def _thinking(self, event: ThinkingDelta) -> Iterator[Step]:
        if not self._shows_thinking:
            return
        if not self._thinking_open:
            yield from self._end_run(None)
            self._thinking_open = True
            yield ThinkingStarted()
        yield event

    def _end_run(self, reason: StopReason | None) -> Iterator[Step]:
        if self._text_open:
            yield TextEnded(reason=reason)
        if self._thinking_open:
            yield ThinkingEnded()
        self._text_open, self._thinking_open, self._blank = False, False, ""


def whole_blocks(
    events: Iterable[AnswerEvent], *, thinking: bool = False
) -> tuple[tuple[Block, ...], Finished]:
    """The blocks of a finished answer, and how it finished."""
    stepper = BlockStepper(thinking=thinking)
    blocks: list[Block] = []
    for step in (step for event in events for step in stepper.steps(event)):
        match step:
            case TextStarted():
                blocks.append(TextBlock(""))
            case ThinkingStarted():
                blocks.append(ThinkingBlock(""))
            case ToolCallStarted():
                blocks.append(CallBlock(step, ""))
            case TextDelta(text) | ThinkingDelta(text) | ToolCallDelta(text):
                blocks[-1] = _longer(blocks[-1], text)
            case Finished():
                return tuple(blocks), step
            case _:
                pass
    raise ValueError("an answer without its `Finished` event is not whole")


def _longer(block: Block, text: str) -> Block:
    if isinstance(block, CallBlock):
        return CallBlock(block.call, block.arguments + text)
    return type(block)(block.text + text)
