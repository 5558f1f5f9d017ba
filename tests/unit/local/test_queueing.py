"""Who goes before whom, and who has to go."""

from __future__ import annotations

from typing import Any

from scheduling import job

from fallback.local.worker.fair_shares import Account
from fallback.local.worker.layout import Layout
from fallback.local.worker.queueing import Sequence, least, slots_held, turns, victims

LONG_AGO = -100.0


def sequence(
    arrival: int, client: str = "", *, had_s: float = 0.0, rest_s: float = 1.0, **facts: Any
) -> Sequence:
    made = Sequence(
        job(arrival, client=client, **facts),
        account=Account(client, had_s),
        arrival=arrival,
        now=LONG_AGO,
    )
    made.rest_s = rest_s
    return made


def displaced(
    candidate: Sequence, running: list[Sequence], *, free: int = 0, slot_tokens: int = 100
) -> list[int] | None:
    slots = len(running) + free
    layout = Layout(slots=slots, context_tokens=slots * slot_tokens)
    chosen = victims(candidate, running, layout, now=0.0)
    return None if chosen is None else [each.arrival for each in chosen]


def in_line(line: list[Sequence], running: list[Sequence]) -> list[int]:
    key = turns(line, held=slots_held(running))
    return [each.arrival for each in sorted(line, key=key)]


def test_who_holds_fewer_slots_goes_first() -> None:
    """Before all that was had, it is slots that are shared; those of other priorities apart."""
    running = [sequence(0, "a"), sequence(1, "b", priority=1)]
    assert in_line([sequence(2, "a"), sequence(3, "b", had_s=50.0)], running) == [3, 2]


def test_who_would_be_done_first_goes_first() -> None:
    """What was had and what is wanted count together."""
    a, b, c = (
        sequence(0, "a", had_s=3.0, rest_s=3.0),
        sequence(1, "b", had_s=0.0, rest_s=5.0),
        sequence(2, "c", had_s=4.0, rest_s=0.5),
    )
    assert in_line([a, b, c], []) == [2, 1, 0]


def test_one_client_is_served_in_order_of_arrival() -> None:
    """A short job does not overtake a long one of the same client, wherever they stand."""
    assert in_line([sequence(5, rest_s=1.0), sequence(2, rest_s=9.0)], []) == [2, 5]


def test_a_group_goes_where_its_first_would() -> None:
    """A short job behind a long one of the same client does not pull it forward."""
    line = [
        sequence(3, "a", rest_s=0.1),
        sequence(1, "a", rest_s=9.0),
        sequence(2, "b", rest_s=5.0),
    ]
    assert in_line(line, []) == [2, 1, 3]


def test_nobody_goes_where_there_is_room() -> None:
    """A free slot and enough context ask for no victims."""
    assert displaced(sequence(1, priority=9), [sequence(0)], free=1) == []


def test_the_lowest_goes_first_then_the_last() -> None:
    """Standby, then the lowest priority, then who came last."""
    running = [
        sequence(0, priority=1),
        sequence(1),
        sequence(2),
        sequence(3, output=0, standby=True),
    ]
    assert displaced(sequence(9, priority=2), running) == [3]
    assert displaced(sequence(9, priority=2), running[:3]) == [2]
    assert displaced(sequence(9, priority=2), running[:1]) == [0]
    assert displaced(sequence(9, priority=1), running[:1]) is None


def test_of_equals_the_client_with_most_slots_gives_one() -> None:
    """Not the last that came, if it is of a client with fewer."""
    running = [sequence(id, "many") for id in range(3)] + [sequence(id, "some") for id in (3, 4)]
    assert displaced(sequence(9, "none"), running) == [2]


def test_equals_are_displaced_until_slots_are_equal() -> None:
    """Of three slots two can be had, however much context is wanted; the third is their own."""
    running = [sequence(id, "many", prompt=95) for id in range(3)]
    assert displaced(sequence(9, "none", prompt=145), running) == [2, 1]
    assert displaced(sequence(9, "none", prompt=155), running) is None


def test_only_what_never_began_makes_room_in_the_line() -> None:
    """An answer under way keeps its place, and nobody goes for an equal."""
    begun = sequence(0)
    begun.output = 1
    line = [begun, sequence(1), sequence(2), sequence(3, priority=1)]
    assert [each.arrival for each in least(line, 5)] == [2, 1]
    assert [each.arrival for each in least(line, 1)] == [2]
    assert least(line, 0) == least(line[:3], 5) == []
