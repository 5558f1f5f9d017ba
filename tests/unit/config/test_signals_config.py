"""What may be set about the free looks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fallback.config import load
from fallback.config_upstreams import Upstream
from fallback.core.errors import ConfigError

MIRROR = {"upstreams.mirror.base_url": "https://llm.test", "upstreams.mirror.family": "openai"}


def mirror(**fields: Any) -> Upstream:
    overrides = {f"upstreams.mirror.{name}": value for name, value in fields.items()}
    return load(None, {}, {**MIRROR, **overrides}).upstreams["mirror"]


def test_the_pages_of_known_providers_are_known() -> None:
    """By the host of the API, whatever the upstream is called."""
    upstreams = load(None, {}).upstreams
    assert upstreams["anthropic"].status_url == "https://status.claude.com"
    assert upstreams["anthropic"].status_components == ("Claude API (api.anthropic.com)",)
    assert upstreams["openai"].status_url == "https://status.openai.com"
    assert mirror(base_url="https://api.openai.com/v1").status_url == "https://status.openai.com"


def test_another_host_has_no_page_but_its_own() -> None:
    """A provider's page says nothing about a mirror of its API."""
    settings = load(None, {"FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL": "https://mirror.test"})
    assert settings.upstreams["anthropic"].status_url is None
    own = mirror(status_url="https://status.test", status_components=["API"])
    assert (own.status_url, own.status_components) == ("https://status.test", ("API",))


def test_control_hosts_can_be_set_in_the_environment() -> None:
    """Comma-separated; an empty list in the file asks nobody."""
    settings = load(None, {"FALLBACK_SIGNALS__CONTROL_HOSTS": "a.test:8443, b.test"})
    assert settings.signals.control_hosts == ("a.test:8443", "b.test")


def test_control_hosts_can_be_none(tmp_path: Path) -> None:
    """Then the ladder has no witness."""
    path = tmp_path / "config.toml"
    path.write_text("[signals]\ncontrol_hosts = []\n")
    assert load(path, {}).signals.control_hosts == ()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status_url": "http://status.test", "status_components": ["API"]}, "status_url"),
        ({"status_url": "https://status.test:99999", "status_components": ["A"]}, "status_url"),
        ({"status_url": "https://status.test"}, "needs upstreams.mirror.status_components"),
    ],
    ids=["plain", "port", "whose"],
)
def test_a_page_that_cannot_be_read_is_refused(fields: dict[str, Any], said: str) -> None:
    """At the start, with the setting's name."""
    with pytest.raises(ConfigError, match=said):
        mirror(**fields)


@pytest.mark.parametrize("host", ["https://a.test", "a.test/x", "me@a.test", "a.test:99999", ""])
def test_a_control_host_is_a_host(host: str) -> None:
    """With a port at most."""
    with pytest.raises(ConfigError, match=r"signals\.control_hosts"):
        load(None, {}, {"signals.control_hosts": [host]})
