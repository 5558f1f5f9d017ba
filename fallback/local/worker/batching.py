"""Which tokens make up the next step. Pure.

- While a prompt is read, what has lower priority pauses.
- Then decoding sequences come first, prompts after them in turn, within a budget that is
  smaller while anyone decodes: the larger a step, the longer all in it wait for a token.
- A prompt pauses while its client has had more of the model than that of a sequence before it.
  For nearly all of a step with a prompt is the prompt's; so each has its share, and neither
  waits for more than twice its own time.
- Standby takes the smaller steps as well, or smaller ones yet: whoever comes meanwhile waits for
  the step's end.
- Guessed tokens get, in equal parts, what is left of the budget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from fallback.local.worker.queueing import Sequence, turns
from fallback.local.worker.steps import Plan

# So much more may a client have had before its prompts pause: short ones never do.
_AHEAD_S: Final = 2.0


def next_step(
    running: Iterable[Sequence],
    *,
    batch_tokens: int,
    mixed_batch_tokens: int,
    max_drafts: int,
    standby_tokens: int,
) -> Plan:
    """At most `batch_tokens` tokens, guessed ones included; each decoding sequence gets at most
    `max_drafts` of those, standby at most `standby_tokens` in all."""
    decoding, prefilling = _taking_part(running)
    standby = any(s.job.standby for s in prefilling)
    budget = mixed_batch_tokens if decoding or standby else batch_tokens
    if standby:
        budget = min(budget, standby_tokens)
    takes = list(_takes([*decoding, *prefilling], budget))
    if decoding:
        left = budget - sum(tokens for _, tokens in takes)
        max_drafts = min(max_drafts, left // len(decoding))
    chunks = tuple(s.chunk(tokens, _drafts(s, tokens, max_drafts)) for s, tokens in takes)
    return Plan(chunks, standby=standby)


def _taking_part(running: Iterable[Sequence]) -> tuple[list[Sequence], list[Sequence]]:
    decoding: list[Sequence] = []
    prefilling: list[Sequence] = []
    for sequence in running:
        (decoding if sequence.sampled else prefilling).append(sequence)
    if prefilling:
        level = max(s.level for s in prefilling)
        decoding = [s for s in decoding if s.level >= level]
        reading = [s for s in prefilling if s.level >= level]
        prefilling = []
        for sequence in sorted(reading, key=turns(reading)):
            if not _ahead(sequence, [*decoding, *prefilling]):
                prefilling.append(sequence)
    # Long forced runs go after the single tokens, so that each decoding sequence has one.
    decoding.sort(key=_shortness)
    return decoding, prefilling


def _ahead(sequence: Sequence, others: Iterable[Sequence]) -> bool:
    had_s = sequence.account.had_s
    return any(had_s > other.account.had_s + _AHEAD_S for other in others)


def _shortness(sequence: Sequence) -> tuple[int, int]:
    return (sequence.pending, sequence.arrival)


def _takes(sequences: Iterable[Sequence], budget: int) -> Iterator[tuple[Sequence, int]]:
    for sequence in sequences:
        tokens = min(sequence.pending, budget)
        if tokens == 0:
            return
        budget -= tokens
        yield sequence, tokens


def _drafts(sequence: Sequence, tokens: int, limit: int) -> int:
    """Only behind what is sampled; and a right guess is output, which has its limit: with one
    token chosen besides, the sequence stays within the context reserved for it."""
    if not sequence.sampled or tokens < sequence.pending:
        return 0
    return max(0, min(limit, sequence.left - 1))
