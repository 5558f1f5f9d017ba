"""The marks of requests that a small model must not answer: see `unfit`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from fallback.core.conversation import Conversation, Text

_MAX_CHARS = 32 * 1024
"""How much of a text is looked at: prompts that are marks are shorter."""

_MIN_FORK_CHARS = 2000
_TITLE_FIELDS = frozenset({"title", "isNewTopic", "branch"})
_VERDICT_FIELDS = frozenset({"shouldBlock", "command_injection_detected", "flagged", "is_safe"})
_VERDICT_STOPS = frozenset({"</block>", "</severity>"})


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)


_SUCCESSORS = ("llm", "model", "agent", "assistant")


class _Mark(NamedTuple):
    """A pattern, and what a lower-case text must contain one of to hold it. The search takes a
    millisecond for a long text, and the look for its words none."""

    pattern: re.Pattern[str]
    words: tuple[str, ...]

    def is_in(self, text: str, lower: str) -> bool:
        return any(word in lower for word in self.words) and bool(self.pattern.search(text))


_COMPACTION_MARKS = (
    _Mark(
        _words(r"(create|write|provide|produce|prepare)\b[^.]{0,60}\bsummary|summari[sz]e"),
        ("summar",),
    ),
    _Mark(_words(r"(context|conversation|checkpoint) compaction"), ("compaction",)),
    _Mark(_words(r"hand-?(off|over) summary"), ("off summary", "over summary")),
    _Mark(
        _words(r"(another|next) (llm|model|agent|assistant)"),
        tuple(f"{one} {who}" for one in ("another", "next") for who in _SUCCESSORS),
    ),
    _Mark(
        _words(r"(continu|resum)(e|ing)\b[^.]{0,40}\b(work|task|session|conversation)"),
        ("continue", "continuing", "resume", "resuming"),
    ),
    _Mark(_words(r"(not|never|without) (call|us|invok)(e|ing)?\b[^.]{0,20}\btools?"), ("tool",)),
    _Mark(
        re.compile(r"<analysis>.*<summary>|<summary>.*<analysis>", re.IGNORECASE | re.DOTALL),
        ("<summary>",),
    ),
)
_COMPACTED = _words(r"continued from a previous conversation|ran out of context")
_SECTION = _words(
    r"requests? and intent|key technical concepts|files and code|errors and fixes"
    r"|problem solving|user messages|pending tasks|current work|next steps?"
)
_MIN_SECTIONS = 4

_WANTS_TITLE = _words(
    r"(generate|write|create|extract|suggest)\b[^.]{0,60}\btitle\b"
    r"[^.]{0,120}\b(session|conversation|chat|topic|thread)"
)
_NEW_TOPIC = _words("isNewTopic")

_JUDGE = _words(r"security monitor|(safety|security|permission|moderation) (classifier|judge)")
_VERDICT_TAG = re.compile(r"<(block|severity|policy_spec)>", re.IGNORECASE)
_VERDICT_FIELD = _words("command_injection_detected|shouldBlock")
_JUDGE_MODEL = re.compile(
    r"(^|[-_/:.])(llama-?guard|prompt-?guard|safeguard|shieldgemma|moderation)", re.IGNORECASE
)


def asks_for_compaction(conversation: Conversation, body: Mapping[str, Any]) -> bool:
    """Whether a summary is wanted that is to take the conversation's place."""
    return (
        isinstance(body.get("compaction"), Mapping)  # Messages
        or any(item.get("type") == "compaction_trigger" for item in _objects(body.get("input")))
        or _is_uncached_fork(body)
        or _reads_like_compaction(_last_asked(conversation))
    )


def _reads_like_compaction(text: str) -> bool:
    """Summaries are wanted every day: three marks have to agree that it is for a successor."""
    if _COMPACTED.search(text):
        return False  # the summary of an earlier compaction, at the head of what came after
    sections = {section.lower() for section in _SECTION.findall(text)}
    lower = text.lower()
    found = [mark.is_in(text, lower) for mark in _COMPACTION_MARKS]
    return _agree(*found, len(sections) >= _MIN_SECTIONS, least=3)


def asks_for_title(conversation: Conversation, body: Mapping[str, Any]) -> bool:
    """Whether a name for a session is wanted, which only its first message tells."""
    if conversation.tools or len(conversation.turns) > 1:
        return False
    system = conversation.system[:_MAX_CHARS]
    fields = _fields_wanted(conversation)
    return _agree(
        "title" in fields and fields <= _TITLE_FIELDS,
        _WANTS_TITLE.search(system),
        _NEW_TOPIC.search(system),
        body.get("tools") == [] and _is_claude_code(body),
    )


def asks_for_verdict(conversation: Conversation, body: Mapping[str, Any]) -> bool:
    """Whether the answer is to say that something is safe, or is not."""
    if _JUDGE_MODEL.search(conversation.model):
        return True
    if conversation.tools and conversation.tool_choice.mode not in ("named", "required"):
        return False
    text = f"{conversation.system[:_MAX_CHARS]}\n{_last_asked(conversation)}"
    return _agree(
        _JUDGE.search(text),
        _VERDICT_TAG.search(text),
        _VERDICT_FIELD.search(text),
        _VERDICT_STOPS.intersection(conversation.sampling.stop),
        _VERDICT_FIELDS.intersection(_fields_wanted(conversation)),
        any(asked.lstrip().startswith("<transcript>") for asked in _asked(conversation)),
    )


def _agree(*marks: object, least: int = 2) -> bool:
    return sum(map(bool, marks)) >= least


def _asked(conversation: Conversation) -> list[str]:
    """The texts of the user's last turn."""
    for turn in reversed(conversation.turns):
        if turn.role == "user":
            return [part.text for part in turn.parts if isinstance(part, Text)]
    return []


def _last_asked(conversation: Conversation) -> str:
    """The last of those: what comes before it in the same turn is context."""
    return "".join(_asked(conversation)[-1:])[:_MAX_CHARS]


def _fields_wanted(conversation: Conversation) -> frozenset[str]:
    """The fields of the structured answer that is wanted, be it by a schema or a forced tool."""
    schemas = [tool.parameters for tool in conversation.tools]
    if conversation.output_format is not None:
        schemas.append(conversation.output_format.schema)
    found = (schema.get("properties") for schema in schemas)
    return frozenset(field for fields in found if isinstance(fields, Mapping) for field in fields)


def _is_claude_code(body: Mapping[str, Any]) -> bool:
    metadata = body.get("metadata")
    return (
        isinstance(metadata, Mapping)
        and "user_id" in metadata
        and isinstance(body.get("tools"), list)
        and len(_objects(body.get("system"))) > 1
    )


def _is_uncached_fork(body: Mapping[str, Any]) -> bool:
    """Whether Claude Code asks something of its own beside the session: a long text, alone after
    the last cache breakpoint, which in the session's own requests is always at the end."""
    messages = _objects(body.get("messages"))
    blocks = [block for message in messages[-2:] for block in _blocks(message)]
    if len(blocks) < 2 or messages[-1].get("role") != "user":
        return False
    cached, asked = blocks[-2:]
    return (
        "context_management" in body
        and _is_claude_code(body)
        and "cache_control" in cached
        and "cache_control" not in asked
        and len(str(asked.get("text", ""))) >= _MIN_FORK_CHARS
    )


def _blocks(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    return [{"text": content}] if isinstance(content, str) else _objects(content)


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
