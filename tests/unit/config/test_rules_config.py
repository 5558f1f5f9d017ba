"""[[rules]] and [client] of the configuration, and what wrong ones are told."""

import tomllib
from pathlib import Path

import pytest

from fallback.config import load
from fallback.core.errors import ConfigError
from fallback.core.rules import Match, Rule, SomeDeadlines

EXAMPLE = Path(__file__).parents[3] / "scripts" / "fallback.example.toml"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "fallback.toml"
    path.write_text(text)
    return path


def test_a_rule_is_read_as_it_is_written(tmp_path: Path) -> None:
    """With one glob or several, some deadlines, and a hedge in seconds."""
    text = """
    [[rules]]
    name = "private"
    match = { path = "/v1/*", model = ["claude-*", "gpt-*"], header = { X-Team = "payments" } }
    tiers = ["cloud"]
    deadlines = { whole_s = 30 }
    hedge = 4
    reason = "Contracts are for the large models."

    [[rules]]
    hedge = false
    """
    assert load(written(tmp_path, text), {}).rules == (
        Rule(
            name="private",
            match=Match(path="/v1/*", model=("claude-*", "gpt-*"), header={"X-Team": "payments"}),
            tiers=("cloud",),
            deadlines=SomeDeadlines(whole_s=30.0),
            hedge=4.0,
            reason="Contracts are for the large models.",
        ),
        Rule(hedge=False),
    )


def test_the_example_of_a_rule_is_one(tmp_path: Path) -> None:
    """Uncommented it names every setting that there is, and is accepted."""
    lines = EXAMPLE.read_text().splitlines()
    start = lines.index("# [[rules]]")
    rule = [line.removeprefix("# ") for line in lines[start : lines.index("", start)]]
    (written_rule,) = tomllib.loads("\n".join(rule))["rules"]
    assert written_rule.keys() == set(Rule.__struct_fields__)
    assert written_rule["match"].keys() == set(Match.__struct_fields__)
    assert load(written(tmp_path, "\n".join(rule)), {}).rules[0].name == "private"


def test_what_a_client_may_is_a_list_in_the_environment_too() -> None:
    """As people write lists."""
    assert load(None, {"FALLBACK_CLIENT__MAY": "tiers, hedge"}).client.may == ("tiers", "hedge")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ('tier = ["cloud"]', ["rules[1].tier ", "Allowed in rules[1]", "tiers", "on_quota"]),
        ('name = "a"\ntier = ["cloud"]', ["rules[1] (a).tier "]),
        (
            'tiers = ["moon"]',
            ["rules[1].tiers[0] = 'moon'", "'cloud', 'alternate', 'stale', 'local'"],
        ),
        ('tiers = "cloud"', ["rules[1].tiers = 'cloud'", "array"]),
        ("tiers = []", ["rules[1].tiers = []", ">= 1"]),
        ('tiers = ["cloud", "cloud"]', ["rules[1].tiers = ['cloud', 'cloud']", "twice"]),
        ("deadlines = { whole_s = 0 }", ["rules[1].deadlines.whole_s = 0", "> 0"]),
        ("deadlines = { all_s = 1 }", ["rules[1].deadlines.all_s ", "first_byte_s"]),
        ('hedge = "soon"', ["rules[1].hedge = 'soon'", "bool"]),
        ("priority = 1000", ["rules[1].priority = 1000", "100"]),
        ('on_quota = "maybe"', ["rules[1].on_quota = 'maybe'", "'pass', 'next'"]),
        ('splice_thinking = "go"', ["rules[1].splice_thinking = 'go'", "'error', 'continue'"]),
        ('local = "no"', ["rules[1].local = 'no'", "'allow', 'never'"]),
        ('reason = "Because."', ["rules[1].reason", "without effect", 'local = "never"']),
        ("match = { modell = 'x' }", ["rules[1].match.modell ", "path, model, client, header"]),
        ("match = { path = [] }", ["rules[1].match.path = []", ">= 1"]),
        ("match = { model = 3 }", ["rules[1].match.model = 3", "str | array"]),
        ("match = { header = { x-api-key = 3 } }", ["rules[1].match.header[...]", "str | array"]),
    ],
)
def test_a_wrong_rule_is_named_with_its_key_and_what_is_allowed(
    tmp_path: Path, rule: str, words: list[str]
) -> None:
    """By its place in the file, and by its name where it has one."""
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, f"[[rules]]\nhedge = false\n[[rules]]\n{rule}"), {})
    for word in words:
        assert word in str(caught.value), str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[client]\nmay = ["speed"]', ["client.may[0] = 'speed'", "'tiers', 'deadlines'"]),
        ('rules = "none"', ["rules", "[[rules]]"]),
        ('rules = ["none"]', ["rules[0] = 'none'", "object"]),
        ('[rules]\nname = "one"', ["rules", "[[rules]]"]),
    ],
)
def test_wrong_sections_are_named(tmp_path: Path, text: str, words: list[str]) -> None:
    """With what they should be."""
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), {})
    for word in words:
        assert word in str(caught.value), str(caught.value)
