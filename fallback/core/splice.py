"""Going on with an answer that another model began and could not finish.

Rules of this file:
- What the client has stays as it is; the rest must fit to it.
- An engine gets the beginning as its own model would have written it (a *prefix*) and goes on
  behind it. A tier that can only start again repeats the beginning, and `Overlap` takes that
  off.
- Where the cloud said no count, tokens are reckoned at four bytes each, OpenAI's own rule of
  thumb: https://help.openai.com/en/articles/4936856-what-are-tokens-and-how-to-count-them
"""

from __future__ import annotations

import json

import msgspec

from fallback.core.answer import PartialAnswer, SaidCall
from fallback.core.conversation import Conversation
from fallback.core.grammar import rest_grammar
from fallback.core.json_scan import plain_escapes
from fallback.core.ports import Grammar
from fallback.core.tool_formats import GENERAL, ToolFormat, input_form
from fallback.core.tool_syntax import callable_tools

_BYTES_PER_TOKEN = 4
_LONGEST_BLANK_CHARS = 256


def estimated_tokens(text: str) -> int:
    """About how many tokens `text` has."""
    return -(-len(text.encode("utf-8", "replace")) // _BYTES_PER_TOKEN)


class Continuation(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask an engine, so that it goes on with an answer.

    `spaces` were taken from the prefix's end: models write a space together with the word
    behind it, so the engine gets to write them again, and they are taken off its answer.
    """

    conversation: Conversation
    prefix: str
    grammar: Grammar | None
    grammar_start: int
    spaces: int


def continuation(
    conversation: Conversation,
    said: PartialAnswer,
    spent_tokens: int,
    form: ToolFormat = GENERAL,
) -> Continuation:
    """How to go on with `said`, of whose budget `spent_tokens` are used, by a model that writes
    in the format `form`.

    Raises `EngineError` where it breaks off in a call that the grammar does not know.
    """
    grammar = rest_grammar(conversation, said, form)
    prefix, start = form.partial_text(said, conversation)
    spaces = 0
    if _is_json(conversation, said):
        start = len(form.output_head)
        prefix = form.output_head + plain_escapes(_json_text(said.text))
    elif (call := said.open_call) is not None:
        # Raw text has no escapes: what looks like one stands for itself.
        if not _is_raw(conversation, call):
            prefix = prefix[:start] + plain_escapes(prefix[start:])
    else:
        written = prefix.rstrip(" ")
        spaces = len(prefix) - len(written)
        prefix, start = written, len(written)
    return Continuation(
        conversation=_with_tokens_left(conversation, spent_tokens),
        prefix=prefix,
        grammar=grammar,
        grammar_start=start,
        spaces=spaces,
    )


def _is_raw(conversation: Conversation, call: SaidCall) -> bool:
    named = (tool for tool in conversation.tools if tool.name == call.name)
    return any(input_form(tool) == "raw" for tool in named)


def _is_json(conversation: Conversation, said: PartialAnswer) -> bool:
    bound = conversation.output_format is not None and not callable_tools(conversation)
    return bound and not said.calls


def _json_text(text: str) -> str:
    """JSON without the white space around it; behind an unfinished value it means something."""
    begun = text.lstrip()
    try:
        json.loads(begun)
    except (ValueError, RecursionError):
        return begun
    return begun.rstrip()


def _with_tokens_left(conversation: Conversation, spent_tokens: int) -> Conversation:
    sampling = conversation.sampling
    if sampling.max_tokens is None:
        return conversation
    left = max(1, sampling.max_tokens - spent_tokens)
    sampling = msgspec.structs.replace(sampling, max_tokens=left)
    return msgspec.structs.replace(conversation, sampling=sampling)


class LeadingSpaces:
    """Takes up to `count` spaces off the beginning of a text that comes in pieces."""

    def __init__(self, count: int) -> None:
        self._left = count

    def feed(self, text: str) -> str:
        """The text that is new."""
        if not self._left:
            return text
        behind = text.lstrip(" ")
        taken = min(self._left, len(text) - len(behind))
        self._left = 0 if behind else self._left - taken
        return text[taken:]


class Overlap:
    """Takes the beginning off a text that says `prefix` over again, whatever the pieces.

    White space in front is passed over. What says less than half of the prefix, and then
    something else, is no repetition but a new start: all of it is passed on, as a paragraph of
    its own. What strays later goes on from the word where it does. Nothing is held back but
    what the prefix holds, and 256 characters of white space.
    """

    def __init__(self, prefix: str) -> None:
        self._said = prefix.lstrip()
        self._whole = len(self._said.rstrip())
        self._blank = ""
        self._at = 0
        self._passes = not self._whole

    def __repr__(self) -> str:
        state = "passes" if self._passes else "repeats"
        return f"<Overlap {state} {self._at}/{self._whole}>"

    def feed(self, text: str) -> str:
        """What of `text` is new, as far as that is known."""
        if self._passes:
            return text
        if self._at == 0:
            text = self._without_blank(text)
        same = _common_length(self._said[self._at : self._at + len(text)], text)
        self._at += same
        rest = text[same:]
        if not rest and len(self._blank) <= _LONGEST_BLANK_CHARS:
            return ""
        self._passes = True
        return self._joint() + rest

    def _without_blank(self, text: str) -> str:
        begun = (self._blank + text).lstrip()
        self._blank = (self._blank + text)[: len(self._blank) + len(text) - len(begun)]
        return begun

    def _joint(self) -> str:
        """What leads over from the prefix to where the text strays from it."""
        if self._at >= self._whole:
            return ""
        same = self._said[: self._at]
        if self._at * 2 < self._whole:
            return self._parting("\n\n") + self._blank + same
        word = "" if same[-1].isspace() else same.split()[-1]
        return self._parting(" ") + word

    def _parting(self, separator: str) -> str:
        return "" if self._said[-1].isspace() else separator


def _common_length(one: str, other: str) -> int:
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
