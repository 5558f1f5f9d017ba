"""The retry budget of one upstream."""

from hypothesis import given
from hypothesis import strategies as st

from fallback.core.retry import RetryBudget


def test_five_failures_in_a_row_stop_the_retries() -> None:
    """At half the tokens nothing is retried any more (gRPC A6)."""
    budget = RetryBudget()
    for _ in range(4):
        budget.failed()
    assert budget.allow()
    budget.failed()
    assert not budget.allow()
    assert repr(budget) == "<RetryBudget 5.0 of 10.0 tokens>"


def test_successes_bring_the_retries_back_slowly() -> None:
    """Ten successes are worth one failure."""
    budget = RetryBudget()
    for _ in range(6):
        budget.failed()
    for _ in range(9):
        budget.succeeded()
    assert not budget.allow()
    for _ in range(2):
        budget.succeeded()
    assert budget.allow()


def test_asking_takes_nothing() -> None:
    """Only failures cost, so that a plan may ask as often as it likes."""
    budget = RetryBudget()
    assert all(budget.allow() for _ in range(100))


@given(st.lists(st.booleans(), max_size=300))
def test_retries_are_bounded_whatever_happens(outcomes: list[bool]) -> None:
    """Retried failures are at most the five tokens to spare and a tenth of the successes."""
    budget = RetryBudget()
    retries = 0
    for success in outcomes:
        if success:
            budget.succeeded()
        else:
            budget.failed()
            retries += budget.allow()
    assert retries <= 5 + sum(outcomes) / 10 + 1e-6
