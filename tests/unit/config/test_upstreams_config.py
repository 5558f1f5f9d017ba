"""Alternates and a remote model server: what is accepted, and what a wrong setting is told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from fallback.config import load
from fallback.core.errors import ConfigError

BACKUP = {
    "FALLBACK_UPSTREAMS__ANTHROPIC__ALTERNATES": "backup",
    "FALLBACK_UPSTREAMS__BACKUP__BASE_URL": "https://llm.example/v1",
    "FALLBACK_UPSTREAMS__BACKUP__FAMILY": "openai",
}
REMOTE = {"FALLBACK_LOCAL__MODE": "remote", "FALLBACK_LOCAL__REMOTE__URL": "http://gpu:8000/v1/"}


def test_an_alternate_has_a_key_of_its_own() -> None:
    """It comes from the variable that is named, whatever the clients send."""
    environ = {
        **BACKUP,
        "FALLBACK_UPSTREAMS__BACKUP__KEY": "config",
        "FALLBACK_UPSTREAMS__BACKUP__API_KEY_ENV": "BACKUP_KEY",
        "BACKUP_KEY": "sk-1\n",
    }
    settings = load(None, environ)
    assert settings.upstreams["anthropic"].alternates == ("backup",)
    assert settings.upstreams["backup"].api_key == "sk-1"


def test_an_alternate_may_want_no_key() -> None:
    """Then it gets none, rather than the client's."""
    settings = load(None, {**BACKUP, "FALLBACK_UPSTREAMS__BACKUP__KEY": "none"})
    assert settings.upstreams["backup"].api_key == ""


def test_a_model_server_is_the_local_tier() -> None:
    """Its URL is read with and without the version, its key from the variable."""
    environ = {**REMOTE, "FALLBACK_LOCAL__REMOTE__API_KEY_ENV": "GPU_KEY", "GPU_KEY": "k"}
    remote = load(None, environ).local.remote
    assert remote is not None
    assert (remote.url, remote.api_key, remote.context_tokens) == ("http://gpu:8000", "k", None)


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        (BACKUP, ["upstreams.backup", 'key = "config"', "api_key_env", 'key = "none"']),
        (
            {"FALLBACK_UPSTREAMS__ANTHROPIC__ALTERNATES": "bakcup"},
            ["upstreams.anthropic.alternates", "'bakcup'", "openai"],
        ),
        (
            {"FALLBACK_UPSTREAMS__ANTHROPIC__ALTERNATES": "anthropic"},
            ["upstreams.anthropic.alternates", "other upstreams"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__DIALECT": "anthropic"},
            ["upstreams.openai.dialect", "'anthropic'", "family"],
        ),
        ({"FALLBACK_LOCAL__MODE": "remote"}, ["local.remote.url", "http://"]),
        (
            {**REMOTE, "FALLBACK_LOCAL__REMOTE__API_KEY_ENV": "GPU_KEY"},
            ["local.remote.api_key_env", "'GPU_KEY'", "not set"],
        ),
        (
            {**REMOTE, "FALLBACK_LOCAL__REMOTE__URL": "http://user:pw@gpu/v1"},
            ["local.remote.url", "api_key"],
        ),
    ],
)
def test_a_wrong_setting_says_what_to_do(environ: Mapping[str, str], words: list[str]) -> None:
    """No key goes astray, and the message names the setting that would mend it."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    for word in words:
        assert word in str(caught.value), str(caught.value)
