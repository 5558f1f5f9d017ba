"""Which requests tell of a conversation that the local tier may have to go on with."""

from __future__ import annotations

from fallback.core.passed import Passed, passed
from fallback.handling.story import Answer, Story
from fallback.upstream.attempt import Whole
from fallback.upstream.headers import content_coding
from fallback.upstream.live import Live


def passed_on(story: Story, answer: Answer) -> Passed | None:
    """The request, if it asked for an answer and was given one, by whichever tier, and the
    operator's rules let the local tier answer the like of it."""
    route, body = story.route, story.body
    if route.operation != "generate" or not isinstance(body, bytes):
        return None
    if isinstance(answer.result, Whole | Live) and answer.result.status != 200:
        return None
    if not any(step.tier == "local" for step in story.plan.steps):
        return None
    return passed(route.dialect, story.headers, body, content_coding(story.exchange.headers))
