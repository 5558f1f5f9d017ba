"""What became of the requests of a soak."""

from itertools import islice

import pytest
from soaking.mix import CLIENTS, CRITICAL, wishes
from soaking.tally import Ended, Fate, Rest, Soak, percentile, render, verdicts


def end(
    fate: Fate = "answered",
    *,
    importance: str = CRITICAL,
    asked_at: float = 0.0,
    first_token_s: float | None = 1.0,
) -> Ended:
    return Ended(
        importance=importance,
        fate=fate,
        asked_at=asked_at,
        ended_at=asked_at + 5.0,
        first_token_s=first_token_s,
        why="why it was lost",
    )


def soak(
    *ends: Ended, gaps: tuple[tuple[float, float], ...] = (), leaks: tuple[str, ...] = ()
) -> Soak:
    return Soak(
        ends=ends,
        rest=Rest(waits_s=[1.0, 1.0, 1.2], step_s=0.5),
        gaps=gaps,
        leaks=leaks,
        memory_mb=(300.0, 310.0),
    )


def holds(found: Soak) -> list[bool | None]:
    return [verdict.holds for verdict in verdicts(found)]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [([3.0, 1.0, 2.0], 50, 2.0), ([1.0], 95, 1.0), (list(range(100)), 95, 95), ([1, 2], 100, 2)],
)
def test_percentile(values: list[float], percent: float, expected: float) -> None:
    """A percentile is a value that was seen."""
    assert percentile(values, percent) == expected


def test_all_is_well() -> None:
    """Answered, refused and left requests lose nothing; waits within a step are no worse."""
    found = soak(
        end(first_token_s=1.4), end("refused", importance="low", first_token_s=None), end("left")
    )
    assert holds(found) == [True] * 4


def test_a_lost_request() -> None:
    """One lost request fails the soak, and is told with its reason."""
    found = soak(end(), end("lost"))
    assert holds(found)[0] is False
    assert "lost (critical): why it was lost" in render(found)


def test_a_leak() -> None:
    """What is not free again fails the soak."""
    assert holds(soak(end(), leaks=("1 active",)))[1] is False


def test_a_critical_wait() -> None:
    """A critical request that waits longer than alone plus a step fails the soak."""
    found = soak(*(end(first_token_s=1.0) for _ in range(9)), end(first_token_s=1.8))
    assert holds(found)[2:] == [True, False]


@pytest.mark.parametrize(
    ("gap", "counts"), [((0.5, 3.0), False), ((1.5, 3.0), True), ((-3.0, -1.0), True)]
)
def test_waits_during_a_gap(gap: tuple[float, float], counts: bool) -> None:
    """A wait in which the worker was being replaced is told by itself; before and after count."""
    found = soak(end(first_token_s=1.0), gaps=(gap,))
    assert found.waits_s(CRITICAL) == ([1.0] if counts else [])
    assert found.waits_s(CRITICAL, during_gaps=True) == ([] if counts else [1.0])


def test_nothing_critical_was_seen() -> None:
    """Without a critical request nothing is claimed about its wait."""
    assert holds(soak(end(importance="low"))) == [True, True, None, None]


def test_report() -> None:
    """Each importance has a row with its fates and waits."""
    text = render(soak(end(), end("left", importance="low", first_token_s=None)))
    assert "| critical | 1 | 0 | 0 | 0 | 1.00 | 1.00 | 1.00 |" in text
    assert "| low | 0 | 0 | 1 | 0 | - | - | - |" in text


def test_wishes_are_repeatable() -> None:
    """The same seed wishes the same, another one something else, nobody the same as another."""
    first, again, other = (
        [list(islice(wishes(client, seed), 20)) for client in range(len(CLIENTS))]
        for seed in (1, 1, 2)
    )
    assert first == again
    assert first != other
    asked = [str(wish.body) for mine in first for wish in mine]
    assert len(set(asked)) == len(asked)


def test_nobody_leaves_a_critical_request() -> None:
    """Critical requests are of one kind and are waited for; some of the others are left."""
    for client, importance in enumerate(CLIENTS):
        leaves = [wish.patience_s for wish in islice(wishes(client, 3), 60)]
        assert any(each is not None for each in leaves) == (importance != CRITICAL)
