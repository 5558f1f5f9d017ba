from __future__ import annotations

import msgspec
import pytest
from planted_facts.making import QUESTION, Order, make
from planted_facts.places import OLD_TURN, PLACES, RECENT_TURN, Place
from planted_facts.report import Found, render

from fallback.core.conversation import Conversation
from fallback.core.fit import fit


def count(conversation: Conversation) -> int:
    return len(msgspec.json.encode(conversation)) // 4


def order(place: Place, *, times: int = 4) -> Order:
    return Order(seed=1, tokens=times * 2048, budget=2048, place=place)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
def test_the_fact_is_there_once_and_asked_for_at_last(place: Place) -> None:
    """A conversation of that length, the same each time, with one code in it."""
    planted = make(order(place), count)
    text = msgspec.json.encode(planted.conversation).decode()
    assert text.count(planted.code) == 1
    assert text.count(QUESTION) == 1
    without_tools = msgspec.structs.replace(planted.conversation, tools=())
    assert 4 * 2048 <= count(without_tools) < 5 * 2048
    assert make(order(place), count) == planted


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.name)
@pytest.mark.parametrize("times", [2, 10])
def test_what_is_promised_is_kept(place: Place, times: int) -> None:
    """Wherever the rule of cutting promises it, the fact outlives the cut."""
    planted = make(order(place, times=times), count)
    fitted = fit(planted.conversation, 2048, count).conversation
    assert planted.promised == place.promised
    assert planted.code in msgspec.json.encode(fitted).decode() or not planted.promised


def test_lengths_and_places_are_told_apart() -> None:
    """Each share is of those it is about, and broken promises are counted."""
    found = [
        Found(times=2, place=RECENT_TURN, promised=True, kept=True, front_kept=True, answered=True),
        Found(times=2, place=OLD_TURN, promised=False, kept=False, front_kept=True, answered=False),
        Found(times=4, place=RECENT_TURN, promised=True, kept=False, front_kept=False),
    ]
    told = render(found)
    assert "| 2 | 2 | 50 % |  | 100 % | 0 % | 100 % | 100 % |  |" in told
    assert "| a turn of late | 2 of 2 | 50 % |  | 50 % |" in told
    assert "Promises broken: 1 of 2. Not answered: 1 of 2 asked." in told
