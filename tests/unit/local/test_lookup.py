"""Drafts by looking up what followed before, and whether they pay."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.local.worker.draft_gate import DraftGate
from fallback.local.worker.lookup import LONGEST_MATCH, Lookup

Tokens = tuple[int, ...]
texts = st.lists(st.integers(0, 2), max_size=60).map(tuple)


def naive_match(tokens: Tokens, end: int) -> int:
    """How many tokens before `end` are those at the very end."""
    most = min(end, LONGEST_MATCH)
    return next((n for n in range(most) if tokens[end - 1 - n] != tokens[-1 - n]), most)


def naive_longest(tokens: Tokens) -> int:
    longest = max((naive_match(tokens, end) for end in range(1, len(tokens))), default=0)
    return longest if longest >= 2 else 0


def go_on(tokens: Tokens, source: int, limit: int) -> Tokens:
    """What follows from `source`, round and round."""
    period = len(tokens) - source
    return tuple(tokens[source + i % period] for i in range(limit))


@given(prompt=texts, output=texts, limit=st.integers(0, 8))
def test_the_longest_match_is_continued(prompt: Tokens, output: Tokens, limit: int) -> None:
    """A draft continues an earlier occurrence that matches as many tokens as any does, after
    every token, however the tokens came."""
    lookup = Lookup(prompt)
    for count in range(len(output) + 1):
        known = prompt + output[:count]
        assert lookup.matched == naive_longest(known)
        best = [e for e in range(1, len(known)) if naive_match(known, e) == lookup.matched]
        wanted = {go_on(known, end, limit) for end in best} if lookup.matched else {()}
        assert lookup.draft(limit) in wanted
        lookup.append(output[count : count + 1])


def test_the_most_recent_wins() -> None:
    """Of occurrences that match alike the last one is continued."""
    assert Lookup((1, 2, 3, 9, 1, 2, 4, 9, 1, 2)).draft(2) == (4, 9)


def test_a_loop_goes_round() -> None:
    """A text that repeats itself is drafted as long as wanted."""
    assert Lookup((1, 2, 3, 1, 2, 3)).draft(7) == (1, 2, 3, 1, 2, 3, 1)


def test_an_edit_is_followed_past_its_place() -> None:
    """After a change the copy is found again by what follows it."""
    file = tuple(range(100, 200))
    lookup = Lookup((*file, 1, *file[:50], 7))
    assert lookup.draft(4) == ()
    lookup.append(file[51:53])
    assert lookup.draft(4) == file[53:57]


def test_a_search_is_bounded() -> None:
    """However often the same was said, few of its occurrences are looked at."""
    looked_at = 0

    class Counting(Lookup):
        def _match(self, position: int) -> int:
            nonlocal looked_at
            looked_at += 1
            return super()._match(position)

    lookup = Counting([5, 6, 7] * 1000)
    lookup.append([9, 5, 6])
    assert lookup.matched == 2
    assert looked_at <= 64


def test_lookup_repr() -> None:
    """Where it reads from can be read at a glance."""
    lookup = Lookup((1, 2, 3, 1, 2))
    assert lookup.matched == 2
    assert repr(lookup) == "<Lookup tokens=5 source=2 matched=2>"


class Simulation:
    """Decoding with drafts of which each token is accepted with a chance, on a machine where it
    costs a share of a step."""

    def __init__(self, gate: DraftGate, cost: float, sequences: int = 1) -> None:
        self.gate, self.cost, self.sequences = gate, cost, sequences
        self.random = random.Random(0)
        self.tokens = self.steps = self.seconds = 0.0

    def run(self, steps: int, chance: float, matched: int = 8) -> Simulation:
        for _ in range(steps):
            self.step(self.gate.allowance(matched, self.sequences), chance, matched)
        return self

    def step(self, drafted: int, chance: float, matched: int) -> None:
        refused = (i for i in range(drafted) if self.random.random() >= chance)
        accepted = next(refused, drafted)
        ratio = 1 + self.cost * drafted
        self.tokens += self.sequences + accepted
        self.seconds += ratio
        if drafted:
            self.gate.report(matched, drafted, accepted, sequences=self.sequences, cost_ratio=ratio)

    @property
    def rate(self) -> float:
        """Tokens of the batch for the time that plain decoding takes for one of each."""
        return self.tokens / self.seconds / self.sequences


def best_fixed(cost: float, chance: float, sequences: int) -> float:
    def rate(drafted: int) -> float:
        gained = sum(chance**i for i in range(1, drafted + 1))
        return (1 + gained / sequences) / (1 + cost * drafted)

    return max(rate(drafted) for drafted in range(17))


@pytest.mark.parametrize("sequences", [1, 4])
@pytest.mark.parametrize("chance", [0.0, 0.3, 0.6, 0.9, 1.0])
@pytest.mark.parametrize("cost", [0.01, 0.1, 0.3, 0.6])
def test_the_gate_finds_what_pays(cost: float, chance: float, sequences: int) -> None:
    """On any machine and text it comes close to the best draft length, and never costs much."""
    rate = Simulation(DraftGate(), cost, sequences).run(3000, chance).rate
    assert rate >= 0.9 * best_fixed(cost, chance, sequences)
    assert rate >= 0.97


def test_a_change_of_text_is_noticed() -> None:
    """After a long text without a hit, a copy is drafted for within the longest pause."""
    simulation = Simulation(DraftGate(), cost=0.3).run(2000, chance=0.0)
    simulation.run(600, chance=1.0)
    assert simulation.gate.allowance(8, 1) == 16


def test_a_short_match_does_not_spoil_a_long_one() -> None:
    """That drafts after short matches fail says nothing about those after long ones."""
    gate = DraftGate()
    Simulation(gate, cost=0.4).run(100, chance=0.0, matched=2)
    Simulation(gate, cost=0.4).run(20, chance=1.0, matched=32)
    assert gate.allowance(2, 1) == 0
    assert gate.allowance(32, 1) == 16


@given(matched=st.integers(2, 32), cost=st.floats(0.01, 1.0))
def test_company_makes_drafts_shorter(matched: int, cost: float) -> None:
    """The more sequences share the step, the fewer tokens are drafted, for all wait for them."""
    gate = DraftGate(cost=cost)
    Simulation(gate, cost).run(50, chance=0.9, matched=matched)
    lengths = [gate._best(gate._class(matched).acceptance, n) for n in (1, 2, 4, 8)]
    assert lengths == sorted(lengths, reverse=True)


def test_no_match_no_draft() -> None:
    """Nothing is drafted for a sequence whose last tokens were never said before."""
    assert DraftGate().allowance(0, 1) == 0


def test_gate_repr() -> None:
    """What it has learned can be read at a glance."""
    assert repr(DraftGate()) == "<DraftGate cost=0.400 acceptance=0.50 0.65 0.80 0.90>"
