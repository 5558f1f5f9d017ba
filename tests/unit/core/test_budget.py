from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.budget import LEAST_PROMPT_TOKENS, budget_ladder, choose_budget


class Cut(NamedTuple):
    """A prompt of so many tokens, the first of which are cached."""

    tokens: Sequence[int]
    cached: int = 0


def prefill_s(tokens: int, start: int) -> float:
    """100 tokens a second, slower in depth."""
    return tokens / 100 * (1 + start / 10_000)


def choose(
    within_s: float | None, sizes: dict[int, Cut] | None = None, *, room: int = 4096
) -> tuple[int, list[int]]:
    """The size of the chosen prompt, and which budgets were tried."""
    tried = []

    def fit(budget: int) -> Cut:
        tried.append(budget)
        return (sizes or {}).get(budget, Cut(range(budget)))

    prompt = choose_budget(
        budget_ladder(room),
        within_s,
        fit=fit,
        cached_tokens=lambda prompt: prompt.cached,
        prefill_s=prefill_s,
    )
    return len(prompt.tokens), tried


def test_without_a_limit_the_room_is_used() -> None:
    """Nothing but the room itself is tried."""
    assert choose(None) == (4096, [4096])


@pytest.mark.parametrize(("within_s", "tokens"), [(100, 4096), (20, 1448), (5.2, 512), (0.1, 256)])
def test_the_largest_prompt_that_can_be_read_in_time(within_s: float, tokens: int) -> None:
    """A short time gives a short prompt, no time the shortest."""
    assert choose(within_s)[0] == tokens


def test_what_is_cached_costs_no_time() -> None:
    """A large prompt whose beginning is known is read in time."""
    assert choose(5.0, {2896: Cut(range(2800), cached=2500)})[0] == 2800


def test_a_conversation_goes_on_as_it_was_fitted() -> None:
    """Though a larger prompt could be read in time, the one that lies there is taken; unless it is
    much smaller, or has to be read itself."""
    read = {1024: Cut(range(1024), cached=1000)}
    assert choose(20.0, read)[0] == 1024
    assert choose(45.0, read)[0] == 4096
    assert choose(20.0, {1024: Cut(range(1024), cached=600)})[0] == 1448


def test_at_once_is_not_later_than_in_time() -> None:
    """Where less than a second is left, what was mostly read before has to be read in that."""
    sizes = {1024: Cut(range(1024), cached=950), 724: Cut(range(724), cached=700)}
    assert choose(0.3, sizes)[0] == 724


def test_a_prompt_that_nothing_was_cut_from_is_not_tried_again() -> None:
    """Budgets that hold the whole conversation would give the same."""
    sizes = {4096: Cut(range(900))}
    assert choose(8.0, sizes) == (724, [4096, 724, 512, 362])


def test_where_none_is_in_time_the_soonest_is_taken() -> None:
    """The smallest is not always the soonest: it may be the one that is not cached."""
    sizes = {1024: Cut(range(1024), cached=1000)}
    assert choose(0.1, sizes)[0] == 1024


@given(st.integers(1, 100_000))
def test_ladders_share_their_rungs(room: int) -> None:
    """Whatever the room, the budgets below it are the same, down to the least."""
    first, *rest = budget_ladder(room)
    assert first == room
    assert rest == [size for size in budget_ladder(200_000)[1:] if size < room]
    assert all(LEAST_PROMPT_TOKENS <= size < room for size in rest)


@given(st.floats(0.1, 60), st.floats(0, 60), st.integers(1, 10_000))
def test_more_time_never_gives_less(within_s: float, more_s: float, room: int) -> None:
    """With nothing cached, the prompt grows with the time."""
    assert choose(within_s, room=room)[0] <= choose(within_s + more_s, room=room)[0]
