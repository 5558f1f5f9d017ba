"""How much is guessed ahead in a step, and what the gate hears of it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.draft_gate import DraftGate
from fallback.local.worker.drafting import MOST_TOKENS, Drafting
from fallback.local.worker.steps import Chunk, Plan, Sampled

PLAIN_S = 0.01


class Guesser(NamedTuple):
    """A sequence that has so many guesses."""

    id: int
    matched: int = 16
    guesses: int = 100

    def draft(self, limit: int) -> tuple[int, ...]:
        return tuple(range(min(limit, self.guesses)))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Reported(NamedTuple):
    matched: int
    drafted: int
    accepted: int
    sequences: int
    cost_ratio: float


@pytest.fixture
def reports(monkeypatch: pytest.MonkeyPatch) -> list[Reported]:
    """What the gate is told from now on."""
    told: list[Reported] = []

    def report(gate: DraftGate, matched: int, drafted: int, accepted: int, **more: Any) -> None:
        told.append(Reported(matched, drafted, accepted, **more))

    monkeypatch.setattr(DraftGate, "report", report)
    return told


def drafting(clock: Clock | None = None, *, enabled: bool = True) -> Drafting:
    return Drafting(lambda sequences, depth: PLAIN_S, clock or Clock(), enabled=enabled)


def decode(*ids: int, start: int = 50) -> Plan:
    return Plan(tuple(chunk(id, start) for id in ids))


def chunk(id: int, start: int = 50, tokens: int = 1) -> Chunk:
    return Chunk(id=id, start=start, stop=start + tokens, sample=True, drafts=16)


def accepted(id: int, tokens: int) -> Sampled:
    return Sampled(id=id, tokens=tuple(range(tokens + 1)), ended=False, computed=tokens)


@given(st.lists(st.tuples(st.integers(0, 32), st.integers(0, 40)), min_size=1, max_size=8))
def test_a_step_has_a_bound(sequences: list[tuple[int, int]]) -> None:
    """All sequences of a step together guess no more than it may, each no more than its limit,
    and the next step has as much again."""
    drafts = drafting()
    plan = decode(*range(len(sequences)))
    for _ in range(2):
        drafts.begin(plan)
        made = [
            len(drafts.draft(Guesser(id, matched=matched), limit))
            for id, (matched, limit) in enumerate(sequences)
        ]
        assert sum(made) <= MOST_TOKENS
        assert all(tokens <= limit for tokens, (_, limit) in zip(made, sequences, strict=True))


def test_what_one_takes_another_has_not() -> None:
    """The bound is shared: who comes last has what is left."""
    drafts = drafting()
    drafts._gate = DraftGate(cost=0.0)
    drafts.begin(decode(*range(3)))
    assert [len(drafts.draft(Guesser(id), 100)) for id in range(3)] == [16, 16, 0]


def test_switched_off() -> None:
    """Where guessing is off nothing is guessed, and nothing is looked up."""
    drafts = drafting(enabled=False)
    drafts.begin(decode(1))
    assert drafts.most_tokens == 0
    assert drafts.draft(Guesser(1), 16) == ()


def test_what_it_was_worth(reports: list[Reported]) -> None:
    """The gate hears what was guessed and what of it was right, and that the excess of the step
    over a plain one was the drafts', each by its tokens."""
    clock = Clock()
    drafts = drafting(clock)
    drafts.begin(decode(1, 2, 3))
    one = len(drafts.draft(Guesser(1, guesses=1), 16))
    two = len(drafts.draft(Guesser(2, matched=5, guesses=1), 16))
    three = drafts.draft(Guesser(3, guesses=0), 16)
    assert (one, two, three) == (1, 1, ())
    clock.now += 1.5 * PLAIN_S
    drafts.end([accepted(1, 1), accepted(2, 0), accepted(3, 0)])
    assert [each[:4] for each in reports] == [(16, 1, 1, 3), (5, 1, 0, 3)]
    assert [each.cost_ratio for each in reports] == pytest.approx([1.25, 1.25])


def test_the_excess_by_tokens(reports: list[Reported]) -> None:
    """Who guessed three times as much has three times as much of the excess."""
    clock = Clock()
    drafts = drafting(clock)
    drafts._gate = DraftGate(cost=0.0)
    drafts.begin(decode(1, 2))
    drafts.draft(Guesser(1, guesses=3), 16)
    drafts.draft(Guesser(2, guesses=1), 16)
    clock.now += 3 * PLAIN_S
    drafts.end([accepted(1, 3), accepted(2, 1)])
    assert [each.cost_ratio for each in reports] == pytest.approx([2.5, 1.5])


def test_the_depth_of_a_plain_step() -> None:
    """A plain step is one of as many sequences at their mean depth."""
    asked: list[tuple[int, float]] = []

    def plain_s(sequences: int, depth: float) -> float:
        asked.append((sequences, depth))
        return PLAIN_S

    drafts = Drafting(plain_s, Clock())
    drafts.begin(Plan((chunk(1, 100), chunk(2, 300))))
    drafts.draft(Guesser(1), 16)
    drafts.end([accepted(1, 1)])
    assert asked == [(2, 200.0)]


def test_beside_a_prompt(reports: list[Reported]) -> None:
    """Where a prompt was read in the step its time says nothing of the drafts: they are taken to
    cost what they did before."""
    clock = Clock()
    drafts = drafting(clock)
    drafts.begin(Plan((chunk(1), chunk(2, 0, 64))))
    made = len(drafts.draft(Guesser(1), 16))
    before = drafts._gate.cost
    clock.now += 100 * PLAIN_S
    drafts.end([accepted(1, 1)])
    assert made > 0
    assert [each.cost_ratio for each in reports] == [pytest.approx(1 + before * made)]


def test_nothing_guessed_nothing_told(reports: list[Reported]) -> None:
    """A step without guesses says nothing of their worth, whatever the one before had."""
    drafts = drafting()
    drafts.begin(decode(1))
    drafts.draft(Guesser(1), 16)
    drafts.begin(decode(1))
    drafts.draft(Guesser(1, matched=0), 16)
    drafts.end([accepted(1, 0)])
    assert reports == []
