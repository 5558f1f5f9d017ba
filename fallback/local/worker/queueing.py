"""Who goes before whom. Pure.

- Higher priority first; standby jobs after all others.
- Between clients of the same priority: who holds the fewest slots, then who would be done
  first if each had an equal share of the model (`fair_shares.py`): a short job of somebody who
  has had little is not held up by another's queue or long prompt, and equally long ones do not
  delay each other by taking turns.
- Of one client: in order of arrival. So one that was preempted is again before later ones.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import MappingProxyType
from typing import Final, TypeAlias

from fallback.local.worker.fair_shares import Account
from fallback.local.worker.layout import Layout
from fallback.local.worker.steps import Chunk, Job, Reason, Sampled, State

Group: TypeAlias = tuple[float, str]
"""A level of priority, and a client."""

Turn: TypeAlias = tuple[float, int, float, int]

# An equal may be displaced after so long at the earliest: to keep and to restore a long
# sequence takes some 0.2 s, which should remain a small part of the time.
_TURN_S: Final = 2.0


class Sequence:
    """One job's counts: the tokens known (prompt and output), and how many are computed.

    `account` is its client's; `rest_s` how long the model is expected to work for it, from when
    it last began to wait or to run.
    """

    __slots__ = (
        "account",
        "added_at",
        "admitted_at",
        "admitted_due_s",
        "arrival",
        "computed",
        "group",
        "job",
        "known",
        "level",
        "output",
        "rest_s",
        "running",
        "sampled",
    )

    def __init__(self, job: Job, *, account: Account, arrival: int, now: float) -> None:
        self.job = job
        self.account = account
        self.arrival = arrival
        self.added_at = self.admitted_at = now
        self.level: float = -math.inf if job.standby else job.priority
        self.group: Group = (self.level, job.client)
        self.known = job.prompt_tokens
        self.output = job.output_tokens
        self.computed = 0
        self.admitted_due_s = self.rest_s = 0.0
        self.running = False
        self.sampled = False

    def __repr__(self) -> str:
        return f"<Sequence {self.job.id} {self.state} computed={self.computed}/{self.known}>"

    @property
    def state(self) -> State:
        if not self.running:
            return "waiting"
        return "decoding" if self.sampled else "prefilling"

    @property
    def pending(self) -> int:
        """Tokens known and not computed."""
        return self.known - self.computed

    @property
    def left(self) -> int:
        """Tokens of output that it may still have."""
        return self.job.max_output_tokens - self.output

    @property
    def begun(self) -> bool:
        """Whether there is any output: then it is never given up for being late."""
        return self.output > 0

    @property
    def due_s(self) -> float:
        """How much its client will have had of the model when this is done, as it looked when it
        was admitted: what is under way is finished before what would take as long."""
        return self.admitted_due_s if self.running else self.account.had_s + self.rest_s

    def wait(self, rest_s: float) -> None:
        """It has no slot any more; what it had computed is taken to be kept."""
        self.running = False
        self.rest_s = rest_s

    def admit(self, now: float) -> None:
        """It has a slot now; until told otherwise nothing lies there."""
        self.running = True
        self.sampled = False
        self.admitted_at = now
        self.computed = 0

    def attach(self, computed: int, rest_s: float) -> None:
        """So much lies in its slot."""
        self.computed = computed
        self.rest_s = rest_s
        self.admitted_due_s = self.account.had_s + rest_s

    def take(self, sampled: Sampled) -> None:
        """Its output grew; what was guessed right is computed already."""
        self.sampled = True
        self.known += len(sampled.tokens)
        self.output += len(sampled.tokens)
        self.computed += sampled.computed

    def end(self, sampled: Sampled) -> Reason | None:
        """Why it ends with what was taken, if it does."""
        if sampled.failure is not None:
            return "failed"
        if sampled.ended:
            return "end"
        return "max_tokens" if self.left <= 0 else None

    def counts_against(self, newcomer: Sequence) -> bool:
        """Whether it takes a place that the newcomer cannot have."""
        if self.running:
            return not self.job.standby or newcomer.job.standby
        return self.level >= newcomer.level or self.begun

    def chunk(self, tokens: int, drafts: int) -> Chunk:
        """The next tokens to compute. What only keeps warm is not sampled."""
        stop = self.computed + tokens
        return Chunk(
            id=self.job.id,
            start=self.computed,
            stop=stop,
            sample=stop == self.known and not self.job.standby,
            drafts=drafts,
        )


def slots_held(running: Iterable[Sequence]) -> Counter[Group]:
    """How many slots each group has."""
    return Counter(sequence.group for sequence in running)


def turns(
    sequences: Iterable[Sequence],
    due_s: Callable[[Sequence], float] = attrgetter("due_s"),
    held: Mapping[Group, int] = MappingProxyType({}),
) -> Callable[[Sequence], Turn]:
    """A key that sorts these sequences; `held` counts the slots of each group, where that is to
    matter. A group goes where the first of it would."""
    heads: dict[Group, Sequence] = {}
    for sequence in sequences:
        head = heads.setdefault(sequence.group, sequence)
        if sequence.arrival < head.arrival:
            heads[sequence.group] = sequence
    group_due_s = {group: due_s(head) for group, head in heads.items()}
    return lambda s: (-s.level, held.get(s.group, 0), group_due_s[s.group], s.arrival)


def least(waiting: Iterable[Sequence], count: int) -> list[Sequence]:
    """Up to `count` to make room in the line: nothing that has begun, and only what is of lower
    priority than others in it."""
    line = list(waiting)
    level = max((s.level for s in line), default=-math.inf)
    lower = [s for s in line if s.level < level and not s.begun]
    return sorted(lower, key=lambda s: (s.level, -s.arrival))[: max(0, count)]


def victims(
    candidate: Sequence, running: Iterable[Sequence], layout: Layout, now: float
) -> list[Sequence] | None:
    """Who must go so that the candidate has a slot that is large enough: nobody, the most
    expendable of those it may displace, or None if that is not enough.

    It may displace what has lower priority, and what is of a client of the same priority that
    holds at least two slots more than its own, after a while.
    """
    chosen: list[Sequence] = []
    rest = list(running)
    held = slots_held(rest)
    while not layout.fits([s.job.reserved_tokens for s in (candidate, *rest)]):
        open_to = [s for s in rest if _may_displace(candidate, s, held, now)]
        if not open_to:
            return None
        victim = max(open_to, key=lambda s: (-s.level, held[s.group], s.arrival))
        rest.remove(victim)
        chosen.append(victim)
        held[victim.group] -= 1
    return chosen


def _may_displace(candidate: Sequence, other: Sequence, held: Counter[Group], now: float) -> bool:
    if other.level != candidate.level:
        return other.level < candidate.level
    return held[other.group] >= held[candidate.group] + 2 and now >= other.admitted_at + _TURN_S
