"""What a client is told when nobody can answer it: honest, and of use."""

from __future__ import annotations

from fallback.core.errors import CloudOnly, EngineError, FallbackError, Unavailable
from fallback.core.times import utc
from fallback.handling.story import Story

_COME_AGAIN_S = 5


def refusal(story: Story) -> FallbackError:
    """What to say where no tier answered: what was tried, since when the cloud is not well, why
    nobody else may answer, and when to come again."""
    if isinstance(story.refusal, EngineError):
        return type(story.refusal)(
            f"{_cloud(story)} The local tier cannot answer either: {story.refusal.message}",
            retry_after_s=story.refusal.retry_after_s or _COME_AGAIN_S,
            should_retry=story.refusal.should_retry,
        )
    if story.refusal is not None and not isinstance(story.refusal, CloudOnly):
        return story.refusal
    why = _why_cloud_only(story)
    kind = Unavailable if why is None else CloudOnly
    return kind(
        f"{_cloud(story)} {why or 'No other tier may answer this request.'} "
        f"Nothing was answered in its place. `fallback status` tells more.",
        retry_after_s=story.admission.retry_after_s or _COME_AGAIN_S,
        should_retry=False,
    )


def _cloud(story: Story) -> str:
    if story.attempts:
        last = story.attempts[-1]
        said = last.outcome.facts.error_message
        return f"The cloud does not answer ({last.upstream}: {last.outcome.reason}" + (
            f", {said.rstrip('.')})." if said else ")."
        )
    admission = story.admission
    since = "" if admission.since is None else f" since {utc(admission.since)}"
    outage = "" if story.outage is None else f" (outage {story.outage})"
    what = admission.scope or story.case.upstream
    return f"The cloud was not asked: {what} is {admission.state.value}{since}{outage}."


def _why_cloud_only(story: Story) -> str | None:
    if story.route.operation == "embeddings":
        return (
            "Embeddings come from the cloud alone, since vectors of two models cannot be compared."
        )
    if story.refusal is not None:
        return story.refusal.message
    reason = story.treatment.local_reason
    return None if reason is None else f"{reason.rstrip('.')}."
