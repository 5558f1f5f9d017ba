"""Claude Code and Codex, as they come from npm, against the service and a stand-in cloud."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import command_line
import pytest
from standin import Request, StandIn, reply
from standin.service import EAGER, running_fallback

_LOCAL = {"LOCAL__MAX_OUTPUT_TOKENS": "64", "LOCAL__MAX_PROMPT_TOKENS": "512"}
_PROMPT = "Say hi."


@pytest.fixture(scope="session", autouse=True)
def installed() -> None:
    command_line.install()


@pytest.fixture
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


@pytest.fixture
def elsewhere() -> Iterator[StandIn]:
    """The proxy to the rest of the world; it refuses, and remembers who wanted to go there."""
    with StandIn() as elsewhere:
        yield elsewhere
        assert [request.target for request in elsewhere.requests] == []


def _heads(request: Request) -> list[tuple[str, str]]:
    """The headers that matter end to end, less the ids of the run; names in lower case."""
    pairs = [
        (name.decode().lower(), command_line.without_ids(value)) for name, value in request.headers
    ]
    return [pair for pair in pairs if pair[0] not in ("host", "connection")]


def _asked(cloud: StandIn, client: command_line.Client) -> Request:
    asked = [request for request in cloud.received(client.path) if request.method == "POST"]
    assert len(asked) == 1, cloud.requests
    cloud.forget()
    return asked[0]


@pytest.mark.parametrize("client", command_line.CLIENTS, ids=str)
def test_client_through_an_outage(
    cloud: StandIn, elsewhere: StandIn, client: command_line.Client, tmp_path: Path
) -> None:
    """Healthy: the same bytes as going direct. Cloud killed: a local answer. Back: the cloud's."""
    home = tmp_path / "home"
    upstream = "anthropic" if client.path == "/v1/messages" else "openai"

    def ask(url: str) -> command_line.Run:
        return client.ask(url, home, _PROMPT, proxy=elsewhere.url)

    ask(cloud.url)  # a first run sets its home up, which later requests may mention
    cloud.forget()
    direct, sent = ask(cloud.url), _asked(cloud, client)
    assert (direct.status, direct.output.strip()) == (0, reply.DEFAULT_TEXT), direct.errors
    with running_fallback(cloud.url, tmp_path / "fallback.log", **EAGER, **_LOCAL) as service:
        through, arrived = ask(service.url), _asked(cloud, client)
        assert (through.status, through.output.strip()) == (0, reply.DEFAULT_TEXT)
        assert client.comparable(arrived.body) == client.comparable(sent.body)
        assert arrived.target == sent.target
        assert _heads(arrived) == _heads(sent)

        cloud.kill()
        local = ask(service.url)
        assert local.status == 0, local.errors
        assert local.output.strip()
        assert reply.DEFAULT_TEXT not in local.output

        cloud.revive()
        service.await_health(upstream, "recovering")
        again = ask(service.url)
        assert (again.status, again.output.strip()) == (0, reply.DEFAULT_TEXT)
        service.await_health(upstream, "healthy")
