"""An answer as blocks, which is how every dialect writes it: runs of text, and tool calls.

Rules of this file, and so of every dialect:
- Thinking is dropped. What a client gets it keeps and sends back, also to the cloud once that
  has recovered, and there reasoning that the cloud did not write is refused: Anthropic wants its
  signature, Responses an item it stored or encrypted, Chat Completions knows no such field. One
  such block would break the session for good.
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
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)


class TextStarted(msgspec.Struct, frozen=True):
    """A run of text begins; it will not be empty."""


class TextEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The open run of text is complete; `reason` if the answer ends with it, and how."""

    reason: StopReason | None


Step: TypeAlias = (
    Started
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


class CallBlock(msgspec.Struct, frozen=True):
    """A whole tool call."""

    call: ToolCallStarted
    arguments: str


class BlockStepper:
    """Turns the events of one answer into steps that open and close blocks. `text_open` if
    there is an open run of text already."""

    def __init__(self, *, text_open: bool = False) -> None:
        self._open = text_open
        self._blank = ""

    def __repr__(self) -> str:
        return f"<BlockStepper text={'open' if self._open else 'closed'}>"

    def steps(self, event: AnswerEvent) -> Iterator[Step]:
        """The steps that `event` amounts to; none for thinking and for blank text."""
        match event:
            case TextDelta(text):
                yield from self._text(text)
            case ToolCallStarted():
                yield from self._end_text(None)
                yield event
            case Finished(reason=reason):
                yield from self._end_text(reason)
                yield event
            case Started() | ToolCallDelta() | ToolCallEnded():
                yield event

    def _text(self, text: str) -> Iterator[Step]:
        if not self._open:
            self._blank += text
            if self._blank.isspace():
                return
            self._open, text, self._blank = True, self._blank, ""
            yield TextStarted()
        yield TextDelta(text)

    def _end_text(self, reason: StopReason | None) -> Iterator[Step]:
        if self._open:
            yield TextEnded(reason=reason)
        self._open, self._blank = False, ""


def whole_blocks(
    events: Iterable[AnswerEvent],
) -> tuple[tuple[TextBlock | CallBlock, ...], Finished]:
    """The blocks of a finished answer, and how it finished."""
    stepper = BlockStepper()
    blocks: list[TextBlock | CallBlock] = []
    for step in (step for event in events for step in stepper.steps(event)):
        match step:
            case TextStarted():
                blocks.append(TextBlock(""))
            case ToolCallStarted():
                blocks.append(CallBlock(step, ""))
            case TextDelta(text) | ToolCallDelta(text):
                blocks[-1] = _longer(blocks[-1], text)
            case Finished():
                return tuple(blocks), step
            case _:
                pass
    raise ValueError("an answer without its `Finished` event is not whole")


def _longer(block: TextBlock | CallBlock, text: str) -> TextBlock | CallBlock:
    if isinstance(block, TextBlock):
        return TextBlock(block.text + text)
    return CallBlock(block.call, block.arguments + text)
