"""TOML and environment -> settings, and what a wrong one is told."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from fallback.config import Settings, load
from fallback.core.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "scripts" / "fallback.example.toml"


def test_without_anything_the_two_clouds_are_there() -> None:
    """The defaults run: loopback, port 8484, both providers, the embedded model."""
    settings = load(None, {})
    assert (settings.server.host, settings.server.port) == ("127.0.0.1", 8484)
    assert settings.upstreams["anthropic"].base_url == "https://api.anthropic.com"
    assert settings.upstreams["openai"].family == "openai"
    assert settings.local.model == "smollm2-135m-instruct"


def test_the_example_is_the_defaults() -> None:
    """The commented example sets every key to what it is anyway, and leaves none out."""
    assert load(EXAMPLE, {}) == load(None, {})
    told = tomllib.loads(EXAMPLE.read_text())
    defaults = msgspec.to_builtins(Settings())
    for section in ("server", "deadlines", "client", "health", "hedging", "signals", "log"):
        assert told[section].keys() == defaults[section].keys()
    text = EXAMPLE.read_text()
    for key in [*defaults["local"], "api_key", "api_key_env", "proxy", "ca_file"]:
        assert f"{key} = " in text or f"[local.{key}]" in text


def test_later_sources_win() -> None:
    """The file is the least, then the environment, then the command line."""
    environ = {"FALLBACK_SERVER__PORT": "9000", "FALLBACK_SERVER__ALLOWED_HOSTS": "a.test,b.test"}
    settings = load(EXAMPLE, environ, {"server.port": None})
    assert settings.server.port == 9000
    assert settings.server.allowed_hosts == ("a.test", "b.test")
    assert load(EXAMPLE, environ, {"server.port": 9001}).server.port == 9001


def test_an_upstream_of_ones_own_needs_a_url_and_a_family() -> None:
    """A base URL may end in /v1 or a slash; clients' paths bring their own."""
    environ = {
        "FALLBACK_UPSTREAMS__MIRROR__BASE_URL": "https://llm.test/v1/",
        "FALLBACK_UPSTREAMS__MIRROR__FAMILY": "anthropic",
    }
    assert load(None, environ).upstreams["mirror"].base_url == "https://llm.test"


def test_an_operators_key_comes_from_where_it_says() -> None:
    """By value or by the name of a variable; a client's key is never mixed in."""
    environ = {
        "FALLBACK_UPSTREAMS__OPENAI__KEY": "config",
        "FALLBACK_UPSTREAMS__OPENAI__API_KEY_ENV": "MY_KEY",
        "MY_KEY": "sk-operator",
    }
    assert load(None, environ).upstreams["openai"].api_key == "sk-operator"
    assert (
        load(None, {"FALLBACK_UPSTREAMS__OPENAI__API_KEY": "x"}).upstreams["openai"].api_key is None
    )


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"FALLBACK_SERVER__PORT": "abc"}, ["server.port", "'abc'", "int"]),
        ({"FALLBACK_SERVER__PORT": "70000"}, ["server.port", "70000", "65535"]),
        ({"FALLBACK_SERVER__PROT": "1"}, ["server.prot", "host, port, name"]),
        ({"FALLBACK_LOCAL__MODE": "maybe"}, ["local.mode", "'maybe'", "'on', 'off'"]),
        ({"FALLBACK_LOG__LEVEL": "loud"}, ["log.level", "'loud'", "'debug'"]),
        ({"FALLBACK_SEVER__PORT": "1"}, ["sever", "server, upstreams"]),
        ({"FALLBACK_SERVER": "1"}, ["server", "'1'"]),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "api.test"},
            ["upstreams.openai.base_url", "'api.test'", "https?"],
        ),
        (
            {"FALLBACK_UPSTREAMS__MIRROR__BASE_URL": "https://m.test"},
            ["upstreams.mirror.family", "missing"],
        ),
        (
            {"FALLBACK_UPSTREAMS__V1__BASE_URL": "https://m.test"},
            ["upstreams.v1", "not a valid name"],
        ),
        (
            {
                "FALLBACK_UPSTREAMS__OPENAI__KEY": "config",
                "FALLBACK_UPSTREAMS__OPENAI__API_KEY_ENV": "UNSET_KEY",
            },
            ["upstreams.openai.key", "UNSET_KEY", "client"],
        ),
        ({"FALLBACK_DEADLINES__CONNECT_S": "soon"}, ["deadlines.connect_s", "'soon'"]),
        ({"FALLBACK_DEADLINES__STALL_S": "0"}, ["deadlines.stall_s", "'0'"]),
        ({"FALLBACK_DEADLINES__STALL_S": "inf"}, ["deadlines.stall_s", "'inf'"]),
        ({"FALLBACK_DEADLINES__STALL_S": "nan"}, ["deadlines.stall_s", "'nan'"]),
        ({"FALLBACK_HEALTH__HALF_LIFE_S": "0"}, ["health.half_life_s", "'0'"]),
        ({"FALLBACK_HEALTH__WINDOW_OUTCOMES": "5"}, ["health.window_outcomes", "half_life_s"]),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "https://api.test:99999"},
            ["upstreams.openai.base_url", "Port out of range"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "https://api..test"},
            ["upstreams.openai.base_url", "label"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "https:///v1"},
            ["upstreams.openai.base_url", "no host"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "https://api.test/v1?version=1"},
            ["upstreams.openai.base_url", "a path"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "https://äpi.test"},
            ["upstreams.openai.base_url", "https?"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__PROXY": "http://proxy:port"},
            ["upstreams.openai.proxy", "'port'"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__CA_FILE": "/nowhere.pem"},
            ["upstreams.openai.ca_file", "'/nowhere.pem'", "No such file"],
        ),
        (
            {"FALLBACK_UPSTREAMS__OPENAI__CA_FILE": __file__},
            ["upstreams.openai.ca_file", "PEM"],
        ),
    ],
)
def test_a_wrong_setting_is_named_with_its_value_and_the_allowed_ones(
    environ: dict[str, str], words: list[str]
) -> None:
    """Whoever reads the message knows what to change."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    for word in words:
        assert word in str(caught.value), str(caught.value)


def test_a_key_never_ends_a_header() -> None:
    """The line end that a key out of a file brings is not of it; one inside is refused."""
    config = {"FALLBACK_UPSTREAMS__OPENAI__KEY": "config"}
    key = {**config, "FALLBACK_UPSTREAMS__OPENAI__API_KEY": "sk-1\r\n"}
    assert load(None, key).upstreams["openai"].api_key == "sk-1"
    with pytest.raises(ConfigError):
        load(None, {**config, "FALLBACK_UPSTREAMS__OPENAI__API_KEY": "sk-1\nx-a: b"})


def test_a_list_in_the_environment_may_have_spaces() -> None:
    """As people write lists."""
    environ = {"FALLBACK_SERVER__ALLOWED_HOSTS": "box.lan, 10.0.0.2"}
    assert load(None, environ).server.allowed_hosts == ("box.lan", "10.0.0.2")


@pytest.mark.parametrize(
    "environ",
    [
        {"FALLBACK_UPSTREAMS__OPENAI__KEY": "sk-secret"},
        {
            "FALLBACK_UPSTREAMS__OPENAI__KEY": "config",
            "FALLBACK_UPSTREAMS__OPENAI__API_KEY": "sk-secret\nx",
        },
        {"FALLBACK_UPSTREAMS__OPENAI__PROXY": "socks://joe:sk-secret@proxy"},
        {"FALLBACK_UPSTREAMS__OPENAI__PROXY": "http://joe:sk-secret@proxy:port"},
        {"FALLBACK_UPSTREAMS__OPENAI__BASE_URL": "http://joe:sk-secret@api.test"},
    ],
)
def test_a_key_is_never_shown(environ: dict[str, str]) -> None:
    """Not even in the message about it."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize("text", [None, "not toml =", 'server = "x"'])
def test_a_bad_file_is_named(tmp_path: Path, text: str | None) -> None:
    """A missing file, broken TOML, a value where a section belongs."""
    path = tmp_path / "fallback.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert str(path) in str(caught.value) or "server" in str(caught.value)
