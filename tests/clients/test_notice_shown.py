"""Claude Code in its interactive mode shows who answers, and goes on with the cloud afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import command_line
import pytest
import terminal
from standin import StandIn, reply
from standin.service import EAGER, running_fallback

_LOCAL = {"LOCAL__MAX_OUTPUT_TOKENS": "48", "LOCAL__MAX_PROMPT_TOKENS": "512"}
_MARK = "▲ fallback: anthropic does not answer"


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    command_line.install()


@pytest.fixture
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


@pytest.fixture
def elsewhere() -> Iterator[StandIn]:
    """The proxy to the rest of the world; it refuses."""
    with StandIn() as elsewhere:
        yield elsewhere


def _said_by_assistant(body: bytes) -> str:
    turns = [turn for turn in json.loads(body)["messages"] if turn["role"] == "assistant"]
    return json.dumps([turn["content"] for turn in turns], ensure_ascii=False)


def _history_has_it(cloud: StandIn) -> bool:
    asked = [each for each in cloud.received("/v1/messages") if each.method == "POST"]
    return any(_MARK in _said_by_assistant(each.body) for each in asked)


def test_a_person_sees_who_answers(cloud: StandIn, elsewhere: StandIn, tmp_path: Path) -> None:
    """The line stands on the screen before the local answer; the next turn is the cloud's again,
    which takes the history with the line in it, and shows none."""
    log = tmp_path / "fallback.log"
    with running_fallback(cloud.url, log, **EAGER, **_LOCAL) as service:
        cloud.kill()
        with terminal.claude_code(service.url, tmp_path, proxy=elsewhere.url) as screen:
            screen.wait(lambda shown: "auto mode" in shown, "at its prompt")
            screen.type("Is anybody there?")
            shown = screen.wait(lambda shown: _MARK in shown, "told who answers")
            (tmp_path / "outage.txt").write_text(shown)
            cloud.revive()
            service.await_status(
                lambda status: status["upstreams"]["anthropic"]["state"] != "down", "back"
            )
            # What the model did with its tools may go on meanwhile; typed text waits for its end.
            screen.type("And now?")
            shown = screen.wait(
                lambda shown: reply.DEFAULT_TEXT in shown and _history_has_it(cloud),
                "answered by the cloud, which was told",
            )
            assert shown.count("▲ fallback:") == 1
