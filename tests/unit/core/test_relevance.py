from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.conversation import Tool
from fallback.core.relevance import relevant, words

TOOLS = (
    Tool(name="Bash", description="Executes a shell command and returns what it printed."),
    Tool(name="Read", description="Reads a file from the disk."),
    Tool(name="WebSearch", description="Searches the web and returns pages."),
    Tool(name="send_mail", description="Sends a message to a person's mailbox."),
    Tool(name="calendar", description="Lists meetings of a person on a day."),
)


@pytest.mark.parametrize(
    ("said", "names"),
    [
        ("run this in bash please", {"Bash"}),
        ("search for it", {"WebSearch"}),
        ("searching again", {"WebSearch"}),
        ("which shell commands are there?", {"Bash"}),
        ("what meetings are there this day?", {"calendar"}),
        ("tell my mailbox", set()),
        ("what can you do for me with the tools", set()),
        ("", set()),
    ],
)
def test_tools_match_what_is_said(said: str, names: set[str]) -> None:
    """One telling word of the name is enough, or two of the description."""
    assert relevant(TOOLS, [said]) == names


def test_words_that_most_tools_have_tell_nothing() -> None:
    """A prefix that all names share does not make all of them match."""
    tools = [
        Tool(name=f"github_{name}") for name in ("issues", "pulls", "commits", "tags", "forks")
    ]
    assert relevant(tools, ["list the github issues"]) == {"github_issues"}


def test_names_in_camel_case_have_several_words() -> None:
    """Humps part words; endings of plurals and verbs do not count."""
    assert words("ListMcpResources") == words("list mcp resource")
    assert words("edited") == words("editing") == words("edits")


said = st.lists(st.sampled_from(("shell", "command", "web", "mail", "day", "read", "person")))


@given(st.lists(said.map(" ".join), max_size=3), said.map(" ".join))
def test_more_words_never_match_fewer_tools(texts: Sequence[str], more: str) -> None:
    """What matched stays, whatever else is said."""
    assert relevant(TOOLS, texts) <= relevant(TOOLS, [*texts, more])
