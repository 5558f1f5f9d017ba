"""The plan for one request."""

from typing import Any, Literal

import pytest

from fallback.core.health import Admission, State, upstream_scope
from fallback.core.plan import plan
from fallback.core.policy import Treatment
from fallback.core.routing import Operation

Kind = Literal["open", "canary", "closed"]
DOWN = Admission(kind="closed", state=State.DOWN, scope=upstream_scope("anthropic"))


def tiers(operation: Operation, admission: Admission, **wanted: Any) -> list[str]:
    treatment = wanted.pop("treatment", Treatment())
    found = plan(treatment, operation, admission, local=wanted.pop("local", True), **wanted)
    return [step.upstream or step.tier for step in found.steps]


@pytest.mark.parametrize(
    ("operation", "kind", "local", "expected"),
    [
        ("generate", "open", True, ["cloud", "local"]),
        ("generate", "canary", True, ["cloud", "local"]),
        ("generate", "closed", True, ["local"]),
        ("generate", "closed", False, []),
        ("count_tokens", "closed", True, ["local"]),
        ("count_tokens", "closed", False, ["cloud"]),
        ("embeddings", "open", True, ["cloud"]),
        ("embeddings", "closed", True, []),
        ("other", "closed", True, ["cloud"]),
    ],
)
def test_the_plan_follows_operation_and_health(
    operation: Operation, kind: Kind, local: bool, expected: list[str]
) -> None:
    """A dead cloud is not asked to infer; what is no model's work is asked there in any case."""
    admission = Admission(kind=kind, scope=upstream_scope("anthropic"))
    assert tiers(operation, admission, local=local) == expected


def test_alternates_come_where_the_rules_put_them() -> None:
    """Each is a step of its own, and only answers are theirs to give."""
    alternates = ("one", "two")
    assert tiers("generate", DOWN, alternates=alternates) == ["one", "two", "local"]
    first = Treatment(tiers=("local", "alternate", "cloud"))
    everywhere = tiers("generate", Admission(kind="open"), treatment=first, alternates=alternates)
    assert everywhere == ["local", "one", "two", "cloud"]
    assert tiers("count_tokens", DOWN, alternates=alternates) == ["local"]


def test_a_reason_keeps_the_local_tier_out() -> None:
    """Whatever the tiers say."""
    treatment = Treatment(local_reason="A safety verdict is the provider's to give.")
    assert tiers("generate", Admission(kind="open"), treatment=treatment) == ["cloud"]


def test_a_limited_key_is_not_asked_before_its_time() -> None:
    """But only where the operator wants another tier's answer instead."""
    held = Admission(kind="open", held_s=3.0)
    assert tiers("generate", held) == ["cloud", "local"]
    handed_on = Treatment(on_rate_limit="next")
    assert tiers("generate", held, treatment=handed_on) == ["local"]
    assert plan(handed_on, "generate", held, local=True).skipped == "rate-limited"
