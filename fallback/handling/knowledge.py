"""What is known about the upstreams, as one request uses it and adds to it: health, usual
latencies, the budget for retries."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fallback.core.health import Admission, Board, Case, State
from fallback.core.hedging import HedgeSettings, hedge_delay_s
from fallback.core.latency import Baselines, LatencyKey, size_bucket
from fallback.core.models import model_family
from fallback.core.outcome import Failure, Outcome, Verdict, slowed
from fallback.core.retry import RetryBudget
from fallback.core.routing import INFERENCE
from fallback.handling.story import Story

_AT_ONCE = frozenset({Failure.DNS, Failure.REFUSED, Failure.RESET, Failure.NO_ROUTE})
_WELL = Admission(kind="open")


class Waits(NamedTuple):
    """Seconds after which another tier starts beside an upstream, how much longer it waits once
    the upstream has sent its headers, and before which it may not win."""

    start_s: float
    more_s: float
    win_s: float


class Knowledge:
    """Shared by all requests; owned by the event loop."""

    def __init__(
        self,
        board: Board,
        baselines: Baselines,
        hedging: HedgeSettings,
        upstreams: Iterable[str],
        *,
        clock: Callable[[], float],
    ) -> None:
        self.board = board
        self._baselines = baselines
        self._hedging = hedging
        self._budgets = {name: RetryBudget() for name in upstreams}
        self._clock = clock

    def case(self, story: Story, upstream: str) -> Case:
        """What this request means to an upstream's health."""
        return Case(
            upstream=upstream,
            family=model_family(story.peek.model),
            credential=_credential(story, upstream),
            infers=story.route.operation in INFERENCE,
        )

    def now(self) -> float:
        return self._clock()

    def admit(self, case: Case) -> Admission:
        return self.board.admit(case, self._clock())

    def release(self, admission: Admission) -> None:
        """A canary ended, with evidence or without."""
        if admission.lease:
            self.board.release(admission, self._clock())

    # -- how long to wait --------------------------------------------------------------------

    def waits(self, story: Story, case: Case, admission: Admission) -> Waits:
        """When another tier is to start beside this upstream, and when it may win."""
        deadlines = story.deadlines
        limit = self.limit_s(story)
        learned = self._baselines.slow_after_s(self._key(story, case))
        after = self._hedge_s(story, admission, learned)
        if admission.kind != "canary":
            start = limit if after is None else min(after, limit)
            more = max(0.0, deadlines.first_content_s / 2 - start)
            unsure = learned is None and admission.state is State.HEALTHY and story.peek.stream
            return Waits(start_s=start, more_s=more if unsure else 0.0, win_s=0.0)
        usual = learned if story.peek.stream else self._hedge_s(story, _WELL, learned)
        return Waits(
            start_s=deadlines.canary_s if after is None else after,
            more_s=0.0,
            win_s=min(
                limit, max(deadlines.canary_s, min(usual or 0.0, self._grace_s(story, admission)))
            ),
        )

    def _grace_s(self, story: Story, admission: Admission) -> float:
        """The most that a canary may wait, with the local answer beside it: the more, the longer
        the outage, or a cloud that has become slow for good would never be found again."""
        age_s = 0.0 if admission.since is None else self._clock() - admission.since
        return max(story.deadlines.first_byte_s, age_s / 20)

    def limit_s(self, story: Story) -> float:
        """How long an upstream may be silent."""
        deadlines = story.deadlines
        return deadlines.first_byte_s if story.peek.stream else deadlines.whole_s

    def _hedge_s(self, story: Story, admission: Admission, learned: float | None) -> float | None:
        wanted = story.treatment.hedge
        if not isinstance(wanted, bool):
            return float(wanted)
        if not wanted:
            return None
        return hedge_delay_s(
            self._hedging,
            learned,
            admission,
            streams=story.peek.stream,
            max_tokens=story.peek.max_tokens,
            patience_s=story.patience_s,
        )

    # -- what came of it ---------------------------------------------------------------------

    def begun(self, case: Case, *, started: float) -> None:
        """The first content has come of what was asked for then."""
        self.board.begun(case, self._clock(), started=started)

    def learn(
        self, story: Story, case: Case, outcome: Outcome, *, committed_s: float | None = None
    ) -> None:
        """Fold an attempt's outcome in; `committed_s` is when its first content came."""
        if outcome.verdict is Verdict.SUCCESS:
            self._budgets[case.upstream].succeeded()
            if committed_s is not None and story.route.operation == "generate":
                outcome = self._timed(self._key(story, case), outcome, committed_s)
        elif self._was_at_work(case, outcome):
            key, waited_s = self._key(story, case), outcome.facts.duration_s
            self._baselines.late(key, waited_s, self._clock())
        if outcome.weight > 0:
            self._budgets[case.upstream].failed()
        story.tried(case.upstream, outcome)
        self.board.learn(case, outcome, self._clock(), fingerprint=lambda: _digest(story.body))
        if outcome.weight > 0 and story.outage is None:
            # The first is why others were asked; that one of them fails as well is told beside it.
            story.outage = self.board.outage_of(case.upstream, case.family)

    def retries(self, story: Story, case: Case, outcome: Outcome) -> None:
        """A failure that is tried once more at once: it counts with what comes of that."""
        self._budgets[case.upstream].failed()
        story.tried(case.upstream, outcome)

    def may_retry(self, upstream: str, outcome: Outcome) -> bool:
        """Once more at once: nothing was sent, it cost no time, and the budget allows it."""
        facts = outcome.facts
        return (
            facts.phase == "connect"
            and facts.failure in _AT_ONCE
            and self.board.state(upstream) is State.HEALTHY
            and self._budgets[upstream].allow()
        )

    def _was_at_work(self, case: Case, outcome: Outcome) -> bool:
        """Whether what lost a race was slow: silence teaches nothing of how long an answer takes.
        With its head here it was at work, even in an outage: one that is slower for good would
        never end."""
        if outcome.verdict is not Verdict.SLOW:
            return False
        return outcome.facts.status is not None or self.board.state(case.upstream) is State.HEALTHY

    def _timed(self, key: LatencyKey, outcome: Outcome, committed_s: float) -> Outcome:
        threshold = self._baselines.slow_after_s(key)
        self._baselines.observe(key, committed_s)
        is_slow = threshold is not None and committed_s > threshold
        return slowed(outcome) if is_slow else outcome

    def _key(self, story: Story, case: Case) -> LatencyKey:
        size = len(story.body) if isinstance(story.body, bytes) else 0
        return LatencyKey(case.upstream, case.family, size_bucket(size), story.peek.stream)


def _credential(story: Story, upstream: str) -> str:
    """Whose key is sent: the client's, or the one that the operator gave for an alternate."""
    if upstream == story.route.upstream:
        return _fingerprint(story.headers)
    return hashlib.sha256(upstream.encode()).hexdigest()[:6]


def _fingerprint(headers: Mapping[bytes, bytes]) -> str:
    """Tells one key from another without being one."""
    key = headers.get(b"authorization") or headers.get(b"x-api-key")
    return _mark(key) if key else ""


@functools.lru_cache(maxsize=64)
def _mark(key: bytes) -> str:
    return hashlib.sha256(key).hexdigest()[:6]


def _digest(body: object) -> str:
    return hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else ""
