"""The operator's rules."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.client_policy import CLIENT_HEADER
from fallback.core.errors import BadRequest
from fallback.core.policy import Deadlines, Treatment
from fallback.core.rules import Match, RequestFacts, Rule, Rules, SomeDeadlines


def facts(**fields: Any) -> RequestFacts:
    told = {
        "path": "/v1/messages",
        "operation": "generate",
        "model": "claude-opus-5-5",
        "headers": {b"x-team": b"payments"},
        "user_agent": "claude-cli/2.1.329 (external, cli)",
    }
    return RequestFacts(**(told | fields))


def treated(*rules: Rule, **fields: Any) -> Treatment:
    return Rules(rules, Deadlines()).treat(facts(**fields))


def test_without_rules_there_is_one_treatment() -> None:
    """The same value for every request: it costs nothing."""
    rules = Rules((), Deadlines(whole_s=7.0))
    assert rules.treat(facts()) is rules.treat(facts(path="/v1/files"))
    assert rules.treat(facts()) == Treatment(deadlines=Deadlines(whole_s=7.0))


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        (Match(path="/v1/*"), True),
        (Match(path="/V1/MESSAGES"), True),
        (Match(path="/v1"), False),
        (Match(path=("/v2/*", "*/messages")), True),
        (Match(model="claude-*"), True),
        (Match(model="claude-[st]*"), False),
        (Match(client="claude-cli/*"), True),
        (Match(client="claude-cli"), False),
        (Match(header={"X-Team": "pay*"}), True),
        (Match(header={"X-Team": ("ops", "payments")}), True),
        (Match(header={"X-Team": "ops"}), False),
        (Match(header={"X-Other": "*"}), False),
        (Match(header={"X-Team": "*", "X-Other": "*"}), False),
        (Match(path="/v1/*", model="gpt-*"), False),
        (Match(), True),
    ],
)
def test_a_rule_matches_where_all_that_it_names_fits(match: Match, matches: bool) -> None:
    """Globs, of which one of a list is enough; case is ignored."""
    assert (treated(Rule(match=match, priority=5)).priority == 5) is matches


def test_a_glob_is_matched_to_its_end_and_over_lines() -> None:
    """A list of globs is no looser than each of them."""
    assert treated(Rule(match=Match(path=("/a", "/b")), priority=5), path="/ab").priority == 0
    assert treated(Rule(match=Match(client="a*b"), priority=5), user_agent="a\nb").priority == 5


def test_later_rules_override_what_they_name_and_nothing_else() -> None:
    """Deadlines one by one; the name is the last one's that applied."""
    found = treated(
        Rule(name="all", priority=1, hedge=False, deadlines=SomeDeadlines(whole_s=9.0)),
        Rule(name="no", match=Match(path="/nowhere"), priority=7, critical=True),
        Rule(match=Match(path="/v1/*"), priority=2, deadlines=SomeDeadlines(stall_s=4.0)),
    )
    assert found == Treatment(
        priority=2, hedge=False, deadlines=Deadlines(whole_s=9.0, stall_s=4.0), rule="rules[2]"
    )


def test_a_rule_for_all_comes_in_its_turn() -> None:
    """It overrides what stands above it, like any other."""
    some = Rule(match=Match(path="/v1/*"), priority=1, critical=True)
    assert treated(some, Rule(priority=2)) == Treatment(priority=2, critical=True, rule="rules[1]")
    assert treated(Rule(priority=2), some).priority == 1


@pytest.mark.parametrize(
    ("rules", "tiers", "reason"),
    [
        ([Rule(tiers=("cloud",), reason="Law.")], ("cloud",), "Law."),
        ([Rule(local="never", reason="Law.")], ("cloud", "alternate", "stale"), "Law."),
        (
            [Rule(name="x", local="never")],
            ("cloud", "alternate", "stale"),
            "The rule 'x' does not let the local tier answer.",
        ),
        (
            [Rule(local="never", reason="Law."), Rule(tiers=("local", "cloud"))],
            ("cloud",),
            "Law.",
        ),
        (
            [Rule(local="never"), Rule(local="allow")],
            ("cloud", "alternate", "stale", "local"),
            None,
        ),
        ([Rule(tiers=("cloud",)), Rule(tiers=("cloud", "local"))], ("cloud", "local"), None),
        ([Rule(tiers=("cloud",), reason="Law."), Rule(local="allow")], ("cloud",), "Law."),
        ([Rule(tiers=("local",)), Rule(local="never", reason="Law.")], (), "Law."),
    ],
)
def test_the_local_tier_is_kept_out_with_a_reason(
    rules: list[Rule], tiers: tuple[str, ...], reason: str | None
) -> None:
    """By `tiers` or by `local`, each of which only its own setting takes back."""
    found = treated(*rules)
    assert (found.tiers, found.local_reason) == (tiers, reason)


def test_every_setting_of_a_rule_reaches_the_treatment() -> None:
    """Nothing that can be configured is without effect."""
    rule = Rule(
        name="all",
        tiers=("local", "cloud"),
        deadlines=SomeDeadlines(connect_s=1.0),
        hedge=2.0,
        priority=-3,
        critical=True,
        on_rate_limit="next",
        on_quota="next",
        on_credential="next",
        splice_tool_call="continue",
        splice_thinking="continue",
        stale_if_error_s=60.0,
        stale_with_tools=True,
        keep_bodies=True,
        notice="always",
    )
    found = msgspec.structs.asdict(treated(rule))
    default = msgspec.structs.asdict(Treatment())
    assert {name for name in found if found[name] == default[name]} == {"local_reason"}


def test_a_rule_can_override_every_deadline() -> None:
    """The partial table has the names of the whole one."""
    assert SomeDeadlines.__struct_fields__ == Deadlines.__struct_fields__
    every = dict.fromkeys(Deadlines.__struct_fields__, 7.0)
    found = treated(Rule(deadlines=SomeDeadlines(**every)))
    assert found.deadlines == Deadlines(**every)


def test_a_client_asks_on_top_of_the_rules() -> None:
    """Within what they and the operator allow."""
    rules = Rules((Rule(priority=1, local="never"),), Deadlines(), ("tiers", "priority"))
    found = rules.treat(facts(headers={CLIENT_HEADER: b"tiers=(local cloud), priority=9"}))
    assert (found.tiers, found.priority) == (("cloud",), 9)
    with pytest.raises(BadRequest):
        rules.treat(facts(headers={CLIENT_HEADER: b"hedge"}))


globs = st.sampled_from(["*", "/v1/*", "claude-*", "x"])
some_rules = st.builds(
    Rule,
    match=st.builds(Match, path=st.none() | globs, model=st.none() | globs),
    tiers=st.none() | st.sampled_from([("cloud",), ("local",), ("cloud", "local")]),
    local=st.sampled_from([None, "allow", "never"]),
    priority=st.none() | st.integers(-100, 100),
)


@given(st.lists(some_rules, max_size=5))
def test_local_answers_only_where_no_reason_speaks_against_it(rules: list[Rule]) -> None:
    """Whatever the rules: a treatment without the local tier says why, and one with it does not."""
    found = treated(*rules)
    assert ("local" in found.tiers) is (found.local_reason is None)


@given(st.lists(some_rules, max_size=5))
def test_rules_are_a_fold_from_top_to_bottom(rules: list[Rule]) -> None:
    """The priority is that of the last rule that matches and names one."""

    def applies(rule: Rule) -> bool:
        return treated(Rule(match=rule.match, critical=True)).critical

    named = [rule.priority for rule in rules if rule.priority is not None and applies(rule)]
    assert treated(*rules).priority == (named[-1] if named else 0)
