"""How many drafted tokens are worth their verification. Pure.

A step that verifies `k` drafts takes longer by a share `c` for each of them, and gives
`a + a^2 + ... + a^k` tokens more where each is accepted with probability `a` (Leviathan, Kalman,
Matias: "Fast Inference from Transformers via Speculative Decoding", 2023, section 3.1). Both are
measured as they go: `c` depends on the machine (on a CPU 0.3 to 0.6, for it is short of
arithmetic; on a GPU close to 0), `a` on the text and on how much of it matched.

Rules of this file:
- The draft length is the one that gives the most tokens for the time of the whole batch: with
  many sequences in the step a draft slows them all, and pays less.
- Where none pays there are none, and one is tried again after a pause that doubles each time it
  did not pay.
- Old reports fade, so that a change of text is noticed within some ten drafts.
"""

from __future__ import annotations

_FADING = 0.92
_SHORTEST_PAUSE, _LONGEST_PAUSE = 8, 256
_TRIAL = 4
_CHEAPEST, _DEAREST = 0.005, 2.0


class _Class:
    """Drafts after matches of about the same length: how many tokens were accepted."""

    def __init__(self, likely: float) -> None:
        # Two imagined tokens, so that the first real ones weigh more.
        self.accepted, self.tried = 2 * likely, 2.0
        self.pause, self.left = _SHORTEST_PAUSE, 0

    @property
    def acceptance(self) -> float:
        return self.accepted / self.tried

    def report(self, drafted: int, accepted: int) -> None:
        # The first that is refused is the last that is tried: what follows it says nothing.
        self.accepted = _FADING * self.accepted + accepted
        self.tried = _FADING * self.tried + min(accepted + 1, drafted)


class DraftGate:
    """One for all sequences of a worker. `limit`: the longest draft; `cost`: what a drafted token
    adds to a step, as a share of the step without drafts, until it is measured."""

    def __init__(self, *, limit: int = 16, cost: float = 0.4) -> None:
        self._limit = limit
        self._extra, self._drafted = cost, 1.0
        # After matches of 2 and 3 tokens, 4 to 7, 8 to 15, 16 and more.
        self._classes = tuple(_Class(likely) for likely in (0.5, 0.65, 0.8, 0.9))

    def __repr__(self) -> str:
        acceptance = " ".join(f"{each.acceptance:.2f}" for each in self._classes)
        return f"<DraftGate cost={self.cost:.3f} acceptance={acceptance}>"

    @property
    def cost(self) -> float:
        """What a drafted token adds to a step, as a share of the step without drafts."""
        return min(max(self._extra / self._drafted, _CHEAPEST), _DEAREST)

    def allowance(self, matched: int, sequences: int) -> int:
        """How many tokens to draft after a match of `matched` tokens (`Lookup.matched`), in a
        step of `sequences` decoding sequences. 0 where it does not pay. Ask once a step."""
        if matched < 2:
            return 0
        kind = self._class(matched)
        if best := self._best(kind.acceptance, sequences):
            return best
        if kind.left:
            kind.left -= 1
            return 0
        return min(self._limit, _TRIAL)

    def report(
        self, matched: int, drafted: int, accepted: int, *, sequences: int, cost_ratio: float
    ) -> None:
        """What became of a draft of at least one token. `cost_ratio`: the step's time over that
        of the same step without any drafts, 1 + the part of the excess that this draft had."""
        self._extra = _FADING * self._extra + max(0.0, cost_ratio - 1)
        self._drafted = _FADING * self._drafted + drafted
        kind = self._class(matched)
        kind.report(drafted, accepted)
        if self._best(kind.acceptance, sequences):
            kind.pause, kind.left = _SHORTEST_PAUSE, 0
        elif not kind.left:
            kind.left = kind.pause
            kind.pause = min(2 * kind.pause, _LONGEST_PAUSE)

    def _class(self, matched: int) -> _Class:
        return self._classes[min(matched.bit_length(), 5) - 2]

    def _best(self, acceptance: float, sequences: int) -> int:
        """The draft length with the most tokens for the time; 0 where plain decoding has."""
        cost, gained, share = self.cost, 0.0, 1.0
        best, most = 0, 1.0
        for drafted in range(1, self._limit + 1):
            share *= acceptance
            gained += share / sequences
            if (rate := (1 + gained) / (1 + cost * drafted)) > most:
                best, most = drafted, rate
        return best
