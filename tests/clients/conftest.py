"""What tests with real clients share."""

from __future__ import annotations

from collections.abc import Iterator

import command_line
import pytest
from standin import StandIn


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
