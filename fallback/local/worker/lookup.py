"""Drafts without a second model: what followed when the same was said before. Pure.

Prompt-lookup decoding (https://github.com/apoorvumang/prompt-lookup-decoding): text is often
repeated, above all in edits; the tokens after an earlier occurrence of the last ones are a good
guess, and the model verifies all of them in one step.

Rules of this file:
- Earlier occurrences are found by chains: for each pair of tokens its last position, for each
  position the one before with the same pair (as deflate finds its matches, RFC 1951 section 4).
  A token costs O(1), memory is 120 bytes a token, and the prompt is never searched.
- The occurrence with the longest match wins, of equals the most recent. Only the last
  `_OCCURRENCES` are looked at, so a draft costs tens of microseconds at most.
- An occurrence that has foretold the tokens since is followed on without looking again.
- A draft is a guess: what the model would not have said is thrown away. A step of several tokens is
  computed by other kernels than one of a single token, so close choices may fall otherwise: of
  logits up to 1.5 here (Q4_1, AVX-512), as between any two sizes of batch.
"""

from __future__ import annotations

from collections.abc import Iterable

_OCCURRENCES = 64
LONGEST_MATCH = 32
_PAIR = 2
_TOKEN_BITS = 32
_TOKEN_MASK = (1 << _TOKEN_BITS) - 1


class Lookup:
    """The tokens of one sequence, prompt and output, all that are known."""

    def __init__(self, tokens: Iterable[int] = ()) -> None:
        self._tokens: list[int] = []
        # Positions are those behind a pair, where it goes on; 0 is none.
        self._last: dict[int, int] = {}
        self._before: list[int] = []
        self._pair = 0
        self._source = 0
        self._matched = 0
        self.append(tokens)

    def __repr__(self) -> str:
        return f"<Lookup tokens={len(self._tokens)} source={self._source} matched={self._matched}>"

    @property
    def matched(self) -> int:
        """How many of the last tokens were said before in the same order: 0, or from 2 to
        `LONGEST_MATCH`. The more, the surer the draft."""
        if not self._source:
            self._search()
        return self._matched

    def append(self, tokens: Iterable[int]) -> None:
        """These are known now. Drafts come only here once they are accepted."""
        known, last, before = self._tokens, self._last, self._before
        for token in tokens:
            if self._source:
                self._follow(token)
            # The pair at the end goes on from here: now it can be found.
            end = len(known)
            before.append(last.get(self._pair, 0))
            if end >= _PAIR:
                last[self._pair] = end
            self._pair = (self._pair & _TOKEN_MASK) << _TOKEN_BITS | token
            known.append(token)

    def draft(self, limit: int) -> tuple[int, ...]:
        """At most `limit` tokens that may come next; none where nothing matches. Where the
        earlier occurrence reaches up to the end, as in a loop, it is taken to go round."""
        if limit <= 0 or not self.matched:
            return ()
        period = len(self._tokens) - self._source
        return tuple(self._tokens[self._source + i % period] for i in range(limit))

    def _follow(self, token: int) -> None:
        if self._tokens[self._source] == token:
            self._source += 1
            self._matched = min(self._matched + 1, LONGEST_MATCH)
        else:
            self._source = self._matched = 0

    def _search(self) -> None:
        position = self._last.get(self._pair, 0)
        for _ in range(_OCCURRENCES):
            if not position:
                return
            matched = self._match(position)
            if matched > self._matched:
                self._source, self._matched = position, matched
            position = self._before[position]

    def _match(self, position: int) -> int:
        """How many tokens before `position` are those at the end; the pair is known to be."""
        tokens, end = self._tokens, len(self._tokens)
        matched, most = _PAIR, min(LONGEST_MATCH, position)
        while matched < most and tokens[position - 1 - matched] == tokens[end - 1 - matched]:
            matched += 1
        return matched
