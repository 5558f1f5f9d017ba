"""The plan for one request."""

import pytest

from fallback.core.health import Admission
from fallback.core.policy import plan
from fallback.core.routing import Operation


@pytest.mark.parametrize(
    ("operation", "admission", "local", "tiers"),
    [
        ("generate", "open", True, ["cloud", "local"]),
        ("generate", "canary", True, ["cloud", "local"]),
        ("generate", "closed", True, ["local"]),
        ("generate", "closed", False, ["cloud"]),
        ("count_tokens", "closed", True, ["local"]),
        ("embeddings", "open", True, ["cloud"]),
        ("embeddings", "closed", True, ["cloud"]),
        ("other", "closed", True, ["cloud"]),
    ],
)
def test_the_plan_follows_operation_and_health(
    operation: Operation, admission: Admission, local: bool, tiers: list[str]
) -> None:
    """A dead cloud is not asked where the local tier may answer; embeddings stay the cloud's."""
    found = plan(operation, admission, local=local)
    assert [step.tier for step in found.steps] == tiers
    assert found.steps[0].canary is (admission == "canary")
