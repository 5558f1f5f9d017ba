"""One upstream's turn at one request: an attempt, at most one retry, and what is learned of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fallback.core.errors import FallbackError
from fallback.core.outcome import Outcome, Verdict
from fallback.core.plan import Step
from fallback.core.policy import Treatment
from fallback.handling.knowledge import Knowledge
from fallback.handling.story import Answer, Story
from fallback.upstream.attempt import Attempt, Whole
from fallback.upstream.live import Live

_POLICIES: dict[Verdict, Literal["on_rate_limit", "on_quota", "on_credential"]] = {
    Verdict.RATE_LIMITED: "on_rate_limit",
    Verdict.QUOTA: "on_quota",
    Verdict.CREDENTIAL: "on_credential",
}


class Turn:
    """`make` prepares an attempt. `answered`: the head of a good answer is here. `over`: what came
    of the turn is learned."""

    def __init__(
        self, make: Callable[[], Attempt], knowledge: Knowledge, story: Story, step: Step
    ) -> None:
        self._make = make
        self._knowledge = knowledge
        self._story = story
        self._step = step
        self._attempt: Attempt | None = None
        self.over = False
        self.case, self.admission = story.case, story.admission
        if step.upstream:
            self.case = knowledge.case(story, step.upstream)
            self.admission = knowledge.admit(self.case)
            story.leases = (*story.leases, self.admission)

    def __repr__(self) -> str:
        return f"<Turn {self._step.tier} {self.case.upstream} answered={self.answered}>"

    @property
    def answered(self) -> bool:
        return self._attempt is not None and self._attempt.answered

    async def run(self) -> Answer | None:
        """The upstream's answer; None if another tier should answer instead."""
        try:
            result = await self._try()
        except FallbackError as error:
            # It cannot be said in the alternate's protocol; the next tier may still do it.
            self._story.refusal = error
            return None
        if isinstance(result, Outcome) and self._knowledge.may_retry(self.case.upstream, result):
            self._knowledge.retries(self._story, self.case, result)
            result = await self._try()
        if isinstance(result, Live):
            return self._begun(result)
        outcome = result if isinstance(result, Outcome) else result.outcome
        self._learn(outcome)
        if isinstance(result, Outcome):
            return None
        if outcome.next_tier or _handed_on(outcome, self._story.treatment):
            # Its own error is still the best answer if no other tier has one.
            self._story.spare = self._story.spare or self._answer(result)
            return None
        return self._answer(result)

    def so_far(self) -> Outcome:
        """What would be said of it if it were given up now."""
        assert self._attempt is not None, "given up before it was begun"
        return self._attempt.lost()

    def lose(self) -> None:
        """Another tier was first; learn what that says, unless the upstream failed before."""
        if not self.over:
            self._learn(self.so_far())

    def leave(self, limit_s: float) -> None:
        """The client left. That is its own affair, unless the upstream was silent for `limit_s`:
        who waits alone for a dead upstream seldom waits for it to end."""
        if self._attempt is None or self.over or self.answered:
            return
        outcome = self.so_far()
        if outcome.facts.duration_s >= limit_s:
            self._learn(outcome)

    async def _try(self) -> Whole | Live | Outcome:
        self._attempt = self._make()
        return await self._attempt.run()

    def _begun(self, result: Live) -> Answer:
        assert self._attempt is not None
        if result.status < 400:
            self._knowledge.begun(self.case, started=self._attempt.started)
        return self._answer(result)

    def _answer(self, result: Whole | Live) -> Answer:
        assert self._attempt is not None
        return Answer(self._step.tier, self.case, result, self._attempt.committed_s)

    def _learn(self, outcome: Outcome) -> None:
        assert self._attempt is not None
        # Before the rest hears of it: bad news hurries on who still waits, and this one does not.
        self.over = True
        self._knowledge.learn(
            self._story, self.case, outcome, committed_s=self._attempt.committed_s
        )


def _handed_on(outcome: Outcome, treatment: Treatment) -> bool:
    """Whether the operator wants another tier's answer instead of this error."""
    policy = _POLICIES.get(outcome.verdict)
    return policy is not None and getattr(treatment, policy) == "next"
