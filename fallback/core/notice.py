"""A line for the person at an interactive coding agent: this answer is not the cloud's. Pure.

Headers and bodies say it to programs; who sits in front of a terminal sees only text. So the text
of an answer that a local model gave begins with one line, where a person will read it as such and
no program takes it for data: never before a tool call alone, never in structured output.

In later requests the line comes back as the beginning of what the assistant said. The cloud gets it
as it is; a small model would learn to write such lines itself, and is not shown it.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from fnmatch import translate
from string import Formatter
from typing import Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from fallback.core.answer import AnswerEvent, TextDelta
from fallback.core.conversation import Conversation, Text, Turn
from fallback.core.errors import ConfigError
from fallback.core.provenance import Provenance

Language: TypeAlias = Literal["en", "de", "es", "fr", "it", "ja", "pt", "zh"]
Notify: TypeAlias = Literal["auto", "always", "never"]

MARK = "▲ fallback: "
_LINE = re.compile(rf"\A{re.escape(MARK)}[^\n]*\n\n")
_FIELDS = frozenset({"model", "outage", "reason", "upstream"})

_TEXTS: Mapping[Language, str] = {
    "en": "{upstream} does not answer ({reason}). This is {model}, a small model on your machine.",
    "de": "{upstream} antwortet nicht ({reason}). Hier antwortet {model}, ein kleines Modell auf "
    "Ihrem Rechner.",
    "es": "{upstream} no responde ({reason}). Responde {model}, un modelo pequeño en su máquina.",
    "fr": "{upstream} ne répond pas ({reason}). C'est {model}, un petit modèle sur votre machine, "
    "qui répond.",
    "it": "{upstream} non risponde ({reason}). Risponde {model}, un piccolo modello sul suo "
    "computer.",
    "ja": "{upstream} が応答しません({reason})。"
    "この回答はこのマシン上の小さなモデル {model} のものです。",
    "pt": "{upstream} não responde ({reason}). Quem responde é {model}, um modelo pequeno na sua "
    "máquina.",
    "zh": "{upstream} 没有响应({reason})。本回答来自本机上的小模型 {model}。",
}


class NoticeSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`clients` are globs of the user agents of interactive agents, who see the line. `text` is one
    of your own, in place of that of `language`: {upstream}, {reason}, {model} and {outage} are
    filled in."""

    enabled: bool = True
    clients: tuple[str, ...] = ("claude-cli/* (external, cli*", "codex_cli_rs/*", "codex-tui/*")
    language: Language = "en"
    text: Annotated[str, Meta(min_length=1, max_length=300, pattern=r"^[^\r\n]*$")] | None = None


class Notice:
    """Says what stands before an answer."""

    def __init__(self, settings: NoticeSettings) -> None:
        """Raises `ConfigError` for a text with fields that there are not."""
        self._text = settings.text or _TEXTS[settings.language]
        _check(self._text)
        globs = settings.clients if settings.enabled else ()
        self._clients = re.compile("|".join(map(translate, globs)) or r"(?!)", re.IGNORECASE)

    def __repr__(self) -> str:
        return f"<Notice {self._text!r}>"

    def line(
        self, rule: Notify, agent: str, conversation: Conversation, provenance: Provenance
    ) -> str:
        """What the answer's text begins with; empty where nothing is to be said. `rule` is the
        operator's for this request: `auto` tells interactive agents who have tools, which their
        requests of their own accord do not, and only where the cloud failed."""
        if rule == "never" or conversation.output_format is not None:
            return ""
        wanted = (
            self._clients.match(agent) is not None
            and bool(conversation.tools)
            and provenance.reason != "policy"
        )
        if rule == "auto" and not wanted:
            return ""
        filled = self._text.format(
            model=provenance.model.name if provenance.model else "a local model",
            outage=provenance.outage or "none",
            reason=provenance.reason,
            upstream=provenance.upstream,
        )
        return f"{MARK}{filled}\n\n"


async def noticed(
    events: AsyncGenerator[AnswerEvent, None], line: str
) -> AsyncGenerator[AnswerEvent, None]:
    """The same events, with the line before the first text."""
    async with aclosing(events):
        async for event in events:
            if line and isinstance(event, TextDelta) and not event.text.isspace():
                yield TextDelta(line + event.text)
                line = ""
            else:
                yield event


def unmarked(conversation: Conversation) -> Conversation:
    """The conversation without such lines in what the assistant said."""
    turns = tuple(map(_unmarked, conversation.turns))
    if all(new is old for new, old in zip(turns, conversation.turns, strict=True)):
        return conversation
    return msgspec.structs.replace(conversation, turns=turns)


def _unmarked(turn: Turn) -> Turn:
    if turn.role != "assistant":
        return turn
    for at, part in enumerate(turn.parts):
        if isinstance(part, Text) and (found := _LINE.match(part.text)):
            rest = Text(part.text[found.end() :])
            return Turn("assistant", (*turn.parts[:at], rest, *turn.parts[at + 1 :]))
    return turn


def _check(text: str) -> None:
    try:
        fields = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise ConfigError(f"notice.text = {text!r} is not valid: {error}.") from error
    if strange := fields - _FIELDS:
        raise ConfigError(
            f"notice.text = {text!r} is not valid: there is no {{{min(strange)}}}; allowed are "
            + ", ".join(f"{{{name}}}" for name in sorted(_FIELDS))
            + "."
        )
