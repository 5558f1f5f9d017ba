"""What the commands print."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from fallback.cli.commands import app
from fallback.cli.env import Client, lines
from fallback.cli.status import lines as status_lines
from fallback.cli.status import reasons

URL = "http://127.0.0.1:8484"
STATUS: dict[str, Any] = {
    "upstreams": {
        "anthropic": {
            "state": "down",
            "base_url": "https://api.anthropic.com",
            "since": 1000.0,
            "outage": "out-anthropic-1",
            "story": [{"at": 1000.0, "text": "suspect -> down: upstream-529: Overloaded"}],
        },
        "openai": {"state": "healthy", "base_url": "https://api.openai.com", "story": []},
    },
    "unwell": [
        {
            "scope": "anthropic",
            "kind": "upstream",
            "state": "down",
            "since": 1000.0,
            "outage": "out-anthropic-1",
            "story": [{"at": 1000.0, "text": "suspect -> down: upstream-529: Overloaded"}],
            "why": ["anthropic is down.", "Four of four requests failed."],
        },
        {
            "scope": "openai/gpt-5.5",
            "kind": "model",
            "state": "suspect",
            "since": 1080.0,
            "outage": None,
            "story": [{"at": 1080.0, "text": "upstream-503"}],
            "why": ["One request failed."],
        },
    ],
    "local": {
        "state": "ready",
        "detail": "",
        "model": {
            "name": "smollm2",
            "sha256": "0" * 64,
            "quantization": "Q4_1",
            "context_tokens": 8192,
            "engine": "llama.cpp",
        },
    },
    "standby": {"mode": "loaded"},
    "storage": {"state": "ok"},
}


@pytest.mark.parametrize("client", list(Client))
def test_every_client_gets_its_base_url(client: Client) -> None:
    """What is printed can be evaluated by a shell."""
    printed = lines(client, URL)
    assert printed[0].startswith("export ")
    assert URL in printed[0]
    assert all(line.startswith(("export ", "#")) for line in printed)


def test_an_unknown_client_is_told_the_known_ones() -> None:
    """The error names the choices."""
    result = CliRunner().invoke(app, ["env", "emacs"])
    assert result.exit_code == 2
    assert "claude-code" in result.output


def test_status_says_it_in_a_few_lines() -> None:
    """Each upstream with its state, since when and why; a sick model; then the local tier."""
    anthropic, openai, model, local = status_lines(STATUS, now=1090.0)
    assert model.split()[:2] == ["openai/gpt-5.5", "suspect"]
    assert model.endswith("for 10 s: upstream-503")
    assert anthropic.split()[:2] == ["anthropic", "down"]
    assert "for 90 s: suspect -> down: upstream-529: Overloaded [out-anthropic-1]" in anthropic
    assert openai.split() == ["openai", "healthy", "https://api.openai.com"]
    assert local.split()[:3] == ["local", "ready", "smollm2"]


def test_status_explains_what_is_unwell() -> None:
    """In plain words, scope by scope."""
    assert reasons(STATUS) == [
        "",
        "anthropic:",
        "  anthropic is down.",
        "  Four of four requests failed.",
        "",
        "openai/gpt-5.5:",
        "  One request failed.",
    ]
    assert reasons({"unwell": []}) == ["", "All is well; there is nothing to explain."]


def test_status_says_why_the_local_tier_is_not_ready() -> None:
    """The reason stands in the line."""
    local = {"state": "failed", "detail": "the model file is truncated", "model": None}
    printed = status_lines({**STATUS, "local": local}, now=0.0)
    assert "the model file is truncated" in printed[-1]


@pytest.mark.parametrize(
    ("state", "why", "told"),
    [
        ("ready", "", "2 of 3 live conversations are warm, 17,900 tokens"),
        ("warming", "", "17,900 tokens; warming"),
        ("paused", "memory is short", "17,900 tokens; paused, since memory is short"),
    ],
)
def test_status_tells_what_is_warm(state: str, why: str, told: str) -> None:
    """And why no more of it is."""
    standby = {"mode": "warm", "state": state, "why": why}
    counts = {"conversations": 3, "warm": 2, "tokens": 17_900}
    printed = status_lines({**STATUS, "standby": {**standby, **counts}}, now=0.0)
    assert printed[-1].endswith(told)


def test_status_says_nothing_of_a_standby_with_nothing_to_do() -> None:
    """Before the first request there is nothing to tell."""
    standby = {"mode": "warm", "state": "ready", "why": "", "conversations": 0}
    assert status_lines({**STATUS, "standby": standby}, now=0.0) == status_lines(STATUS, now=0.0)


def test_status_claims_no_file_of_a_remote_model() -> None:
    """Of a model server it tells the make."""
    model = {
        **STATUS["local"]["model"],
        "sha256": None,
        "quantization": "unknown",
        "engine": "remote vllm",
    }
    *_, local = status_lines({**STATUS, "local": {**STATUS["local"], "model": model}}, now=0.0)
    assert local.endswith("smollm2 remote vllm, 8192 tokens")


def test_status_says_that_outages_are_not_written() -> None:
    """A disk that fails is one line more."""
    storage = {"state": "failing", "waiting": 2, "error": "disk full"}
    printed = status_lines({**STATUS, "storage": storage}, now=0.0)
    assert printed[-1] == "outages cannot be written, 2 wait: disk full"


def test_status_without_a_service_says_how_to_start_it() -> None:
    """No traceback for a closed port."""
    result = CliRunner().invoke(app, ["status", "--url", "http://127.0.0.1:9"])
    assert result.exit_code == 1
    assert "fallback serve" in result.output


def test_a_wrong_config_ends_serve_with_its_message() -> None:
    """Exit code 2, the key and what is allowed."""
    result = CliRunner().invoke(app, ["serve"], env={"FALLBACK_LOCAL__MODE": "maybe"})
    assert result.exit_code == 2
    assert "local.mode = 'maybe'" in result.output
