"""What a small model must not answer."""

from collections.abc import Mapping
from typing import Any

import captured
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.conversation import (
    Conversation,
    OutputFormat,
    Sampling,
    Text,
    Tool,
    ToolChoice,
    Turn,
)
from fallback.core.routing import Operation
from fallback.core.unfit import unfit

COMPACTIONS = {"cctui-compact-002", "cctui-toolong-003", "cctui-toolong-004"}
TITLES = {"cctui-noness-001"}

SECTIONS = """The sections are:
1. Primary request and intent: what was asked for.
2. Files and code sections: what was read and changed.
3. All user messages that are no tool results.
4. Pending tasks.
5. Current work, and the next step."""


def asked(text: str, *, system: str = "", **fields: Any) -> Conversation:
    turns = (Turn("user", (Text("<system-reminder>Be brief.</system-reminder>"), Text(text))),)
    return Conversation(model="claude-opus-5-5", system=system, turns=turns, **fields)


def kind_of(conversation: Conversation, body: Mapping[str, Any] | None = None) -> str | None:
    found = unfit("generate", conversation, body or {})
    return found.name if found else None


@pytest.mark.parametrize("name", captured.conversations())
def test_captured_requests_are_told_apart(name: str) -> None:
    """Compactions and a title request are known by their shape alone, their prose being
    filler; everything else is fit, with `safeguards` in it too."""
    capture = name.partition("-POST")[0]
    expected = "compaction" if capture in COMPACTIONS else "title" if capture in TITLES else None
    assert kind_of(captured.conversation(capture), captured.body(capture)) == expected


HAND_OVER = "Write a handoff summary for the next agent, which goes on."
NO_TOOLS = "Do not call any tools."
TAGS = "Think in <analysis> tags, then answer in <summary> tags."
SUMMARY = "Create a detailed summary of our session, essential for continuing the work."


@pytest.mark.parametrize(
    "text",
    [
        f"{NO_TOOLS} {SUMMARY} {TAGS}\n{SECTIONS}",
        f"{NO_TOOLS} {SUMMARY}",
        f"{SUMMARY}\n{SECTIONS}",
        f"{NO_TOOLS} {TAGS}\n{SECTIONS}",
        "This is a CONTEXT CHECKPOINT COMPACTION. Create a hand-off summary.",
        HAND_OVER,
    ],
)
def test_a_compaction_is_known_by_its_prose(text: str) -> None:
    """Three marks are enough, whichever they are: the words of clients change."""
    assert kind_of(asked(text)) == "compaction"


@pytest.mark.parametrize(
    "text",
    [
        "Summarize this article.",
        "Create a summary of our conversation so far, please. Don't use any tools.",
        "Summarize this call between a customer and an agent. Put your thoughts into <analysis> "
        "tags and the summary into <summary> tags.",
        "Summarize this handoff document for another agent.",
        "What does <summary> mean in HTML?",
        f"The session is continued from a previous conversation. {SUMMARY} {TAGS}\n{SECTIONS}",
        "Which are the next steps?",
    ],
)
def test_talk_of_summaries_is_no_compaction(text: str) -> None:
    """Two marks prove nothing, and the summary that a compacted session begins with is none."""
    assert kind_of(asked(text)) is None


def test_only_what_is_asked_last_counts() -> None:
    """A compaction's prose in the history, or before the question, asks for nothing."""
    wanted = f"{SUMMARY}\n{SECTIONS}"
    assert kind_of(asked(wanted)) == "compaction"
    parts = (Text(wanted), Text("third question"))
    answered = (Turn("user", (Text(wanted),)), Turn("assistant", (Text("Done."),)))
    assert kind_of(Conversation(model="m", turns=(Turn("user", parts),))) is None
    assert kind_of(Conversation(model="m", turns=(*answered, Turn("user", parts)))) is None


@pytest.mark.parametrize(
    "body",
    [
        {"compaction": {"type": "summarize"}},
        {"input": [{"role": "user", "content": "hi"}, {"type": "compaction_trigger"}]},
    ],
)
def test_the_providers_own_compactions_are_known(body: dict[str, Any]) -> None:
    """By a field of the body that means nothing else."""
    assert kind_of(asked("hi"), body) == "compaction"


def test_a_cache_breakpoint_at_the_end_is_an_ordinary_turn() -> None:
    """A long text pasted into Claude Code differs from a compaction by that alone."""
    body = captured.body("cctui-compact-002")
    text = body["messages"][-1]["content"]
    cached = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    body["messages"][-1]["content"] = cached
    assert kind_of(captured.conversation("cctui-compact-002"), body) is None


TITLE = OutputFormat(kind="json_schema", schema={"properties": {"title": {"type": "string"}}})
TITLE_PROSE = "Write a short title that captures the goal of this coding session."


@pytest.mark.parametrize(
    ("conversation", "kind"),
    [
        (asked("fix it", system=TITLE_PROSE, output_format=TITLE), "title"),
        (
            asked(
                "fix it",
                system="If there is a new topic, extract a title of the conversation. "
                "Answer with isNewTopic and title.",
            ),
            "title",
        ),
        (asked("Which paper is this?", output_format=TITLE), None),
        (asked(TITLE_PROSE), None),
        (asked("fix it", system=TITLE_PROSE), None),
        (asked("fix it", system=TITLE_PROSE, output_format=TITLE, tools=(Tool(name="t"),)), None),
    ],
)
def test_a_title_request_is_known_by_two_marks(
    conversation: Conversation, kind: str | None
) -> None:
    """Somebody's own schema with a title in it is none, nor is an agent that has tools."""
    assert kind_of(conversation) == kind


MONITOR = "You are a security monitor for coding agents. Answer with <block>yes or <block>no."
CLASSIFY = Tool(name="classify", parameters={"properties": {"shouldBlock": {}, "reason": {}}})
FORCED = ToolChoice(mode="named", name="classify")


@pytest.mark.parametrize(
    ("conversation", "kind"),
    [
        (asked("<transcript>", system=MONITOR), "safety-verdict"),
        (asked("check", system=MONITOR), "safety-verdict"),
        (asked("<transcript>\nrm", sampling=Sampling(stop=("</severity>",))), "safety-verdict"),
        (
            asked("rm", system="A security monitor.", tools=(CLASSIFY,), tool_choice=FORCED),
            "safety-verdict",
        ),
        (
            asked("<policy_spec>...</policy_spec> else say command_injection_detected"),
            "safety-verdict",
        ),
        (msgspec.structs.replace(asked("hi"), model="gpt-oss-safeguard-20b"), "safety-verdict"),
        (msgspec.structs.replace(asked("hi"), model="meta-llama/Llama-Guard-4"), "safety-verdict"),
        (msgspec.structs.replace(asked("hi"), model="vanguard-7b"), None),
        (asked("Explain <block> to me."), None),
        (asked("code", sampling=Sampling(stop=("</block>",))), None),
        (asked("What is <block>?", system="No security monitor.", tools=(CLASSIFY,)), None),
    ],
)
def test_a_safety_verdict_is_known_by_two_marks(
    conversation: Conversation, kind: str | None
) -> None:
    """Or by a model that gives nothing else. An agent's own turn, with tools, is none."""
    assert kind_of(conversation) == kind


@pytest.mark.parametrize(
    ("operation", "name"),
    [
        ("embeddings", "embeddings"),
        ("other", "provider-only"),
        ("count_tokens", None),
        ("models", None),
        ("hello", None),
    ],
)
def test_what_only_a_provider_has_is_known_by_the_operation(
    operation: Operation, name: str | None
) -> None:
    """With a reason that a person can read."""
    found = unfit(operation, None, {})
    assert (found and found.name) == name
    assert found is None or found.reason.endswith(".")


KEYS = st.sampled_from(["type", "role", "content", "text", "cache_control", "user_id"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.just("user"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=20,
)
FIELDS = ["messages", "system", "tools", "metadata", "input", "compaction", "context_management"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_no_body_breaks_it(body: dict[str, Any]) -> None:
    """Whatever a client puts where marks are looked for."""
    kind_of(asked("hi"), body)
