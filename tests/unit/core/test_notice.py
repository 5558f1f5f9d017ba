"""The line that tells a person at an agent who answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from fallback.core.answer import AnswerEvent, TextDelta, ToolCallStarted
from fallback.core.conversation import Conversation, OutputFormat, Text, Tool, Turn
from fallback.core.errors import ConfigError
from fallback.core.notice import _TEXTS, MARK, Notice, NoticeSettings, Notify, noticed, unmarked
from fallback.core.ports import ModelIdentity
from fallback.core.provenance import Provenance

INTERACTIVE = "claude-cli/2.1.329 (external, cli)"
HEADLESS = "claude-cli/2.1.329 (external, sdk-cli)"
MODEL = ModelIdentity(
    name="qwen", sha256=None, quantization="Q4_0", context_tokens=1, engine="llama.cpp"
)
OUT = Provenance(
    receipt="rcp_1", tier="local", upstream="anthropic", reason="upstream-503", model=MODEL
)
TOOL = Tool(name="read", description="", parameters={})
ASKED = Conversation(model="claude", turns=(Turn("user", (Text("hi"),)),), tools=(TOOL,))
SHAPED = Conversation(model="claude", tools=(TOOL,), output_format=OutputFormat(kind="json_object"))
ALONE = Conversation(model="claude")
EN = "▲ fallback: anthropic does not answer (upstream-503). This is qwen, a small model on your"


@pytest.mark.parametrize(
    ("rule", "agent", "conversation", "reason", "told"),
    [
        ("auto", INTERACTIVE, ASKED, "upstream-503", True),
        ("auto", HEADLESS, ASKED, "upstream-503", False),
        ("auto", "Anthropic/Python 1.17.0", ASKED, "upstream-503", False),
        ("auto", INTERACTIVE, ALONE, "upstream-503", False),
        ("auto", INTERACTIVE, SHAPED, "upstream-503", False),
        ("auto", INTERACTIVE, ASKED, "policy", False),
        ("never", INTERACTIVE, ASKED, "upstream-503", False),
        ("always", "curl/8", ALONE, "policy", True),
        ("always", INTERACTIVE, SHAPED, "upstream-503", False),
    ],
)
def test_who_is_told(
    rule: Notify, agent: str, conversation: Conversation, reason: str, told: bool
) -> None:
    """People at interactive agents, where the cloud failed; programs only where a rule says so;
    structured output never."""
    provenance = Provenance(receipt="r", tier="local", upstream="anthropic", reason=reason)
    assert bool(Notice(NoticeSettings()).line(rule, agent, conversation, provenance)) is told


def test_what_is_told() -> None:
    """Who does not answer, why, and who does instead; in one line, with an empty one after it."""
    line = Notice(NoticeSettings()).line("auto", INTERACTIVE, ASKED, OUT)
    assert line.startswith(EN)
    assert line.endswith(".\n\n")
    assert line.count("\n") == 2


@pytest.mark.parametrize("language", _TEXTS)
def test_every_language_tells_the_same(language: str) -> None:
    """Each names the upstream, the reason and the model, and can be read back as a notice."""
    settings = NoticeSettings(language=language)  # type: ignore[arg-type]
    line = Notice(settings).line("auto", INTERACTIVE, ASKED, OUT)
    assert all(word in line for word in ("anthropic", "upstream-503", "qwen"))
    said = Conversation(model="m", turns=(Turn("assistant", (Text(line + "Hello."),)),))
    assert unmarked(said).turns[0].parts == (Text("Hello."),)


def test_an_own_text() -> None:
    """The operator's, with the fields that there are; with others it is refused."""
    own = Notice(NoticeSettings(text="{model} speaks, see {outage}"))
    assert own.line("auto", INTERACTIVE, ASKED, OUT) == f"{MARK}qwen speaks, see none\n\n"
    for text in ("{who}", "{", "{0}"):
        with pytest.raises(ConfigError, match=r"notice\.text"):
            Notice(NoticeSettings(text=text))


def test_it_can_be_switched_off() -> None:
    """For all clients, while a rule may still want it."""
    off = Notice(NoticeSettings(enabled=False))
    assert off.line("auto", INTERACTIVE, ASKED, OUT) == ""
    assert off.line("always", INTERACTIVE, ASKED, OUT) != ""


def _with_line(*events: AnswerEvent) -> list[AnswerEvent]:
    async def given() -> AsyncGenerator[AnswerEvent, None]:
        for event in events:
            yield event

    async def got() -> list[AnswerEvent]:
        return [event async for event in noticed(given(), "LINE\n\n")]

    return asyncio.run(got())


def test_it_stands_before_the_first_text() -> None:
    """Once, and not before what is no text."""
    call = ToolCallStarted(id="1", name="read")
    assert _with_line(TextDelta("a"), TextDelta("b")) == [TextDelta("LINE\n\na"), TextDelta("b")]
    assert _with_line(call) == [call]
    assert _with_line(TextDelta("\n"), call) == [TextDelta("\n"), call]


def test_only_what_the_assistant_said_is_cleared() -> None:
    """A user who quotes the line keeps it, and so does text in the middle."""
    line = f"{MARK}anything\n\n"
    kept = Conversation(
        model="m",
        turns=(
            Turn("user", (Text(line),)),
            Turn("assistant", (Text(f"It says:\n{line}"),)),
        ),
    )
    assert unmarked(kept) is kept
