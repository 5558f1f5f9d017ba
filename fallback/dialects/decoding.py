"""What the decoders of all dialects share: settling what a lenient reading left open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fallback.core.conversation import Text, Tool, ToolCall, ToolChoice, Turn
from fallback.core.errors import BadRequest
from fallback.dialects.jsonvalues import integer, objects


def messages_in(raw: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """The messages under `key`. Raises `BadRequest` if there is none."""
    if not isinstance(raw.get(key), list):
        raise BadRequest(f"`{key}` must be a list of messages")
    if not (found := objects(raw[key])):
        raise BadRequest(f"`{key}` must hold at least one message")
    return found


def lift_system(system: str, turns: tuple[Turn, ...]) -> tuple[str, tuple[Turn, ...]]:
    """Move the system turns at the head into the system text; at least one turn stays."""
    head = 0
    while head < len(turns) - 1 and turns[head].role == "system":
        head += 1
    texts = [part.text for turn in turns[:head] for part in turn.parts if isinstance(part, Text)]
    return joined([system, *texts]), turns[head:]


def joined(texts: Iterable[str]) -> str:
    """Texts as paragraphs; empty ones leave no gap."""
    return "\n\n".join(text for text in texts if text)


def text_parts(text: str) -> list[Text]:
    """One text part, or none for no text."""
    return [Text(text)] if text else []


def called_names(turns: tuple[Turn, ...]) -> set[str]:
    """The tools that the conversation already called."""
    return {part.name for turn in turns for part in turn.parts if isinstance(part, ToolCall)}


def possible_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> ToolChoice:
    """The choice, or `auto` where it demands a tool that is not offered (a provider's own)."""
    names = {tool.name for tool in tools}
    if choice.mode == "named" and choice.name in names:
        return choice
    if choice.mode == "none" or (choice.mode == "required" and names):
        return choice
    return ToolChoice(parallel=choice.parallel)


def output_limit(*candidates: Any) -> int | None:
    """The first token limit that is a number; at least one token."""
    for candidate in candidates:
        if (limit := integer(candidate)) is not None:
            return max(1, limit)
    return None


def stop_texts(value: Any) -> tuple[str, ...]:
    """Stop sequences from a string or a list of them."""
    candidates = value if isinstance(value, list) else [value]
    return tuple(text for text in candidates if isinstance(text, str) and text)
