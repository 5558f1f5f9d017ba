"""What of a request that passed is to be had ready, and the order of the intake's errands."""

from __future__ import annotations

import json

import captured
import pytest

from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest, CloudOnly, EngineError
from fallback.local import wire
from fallback.local.worker.beginning import beginning
from fallback.local.worker.desk import Desk, Errand


def warm(name: str = "cc329-ok", *, dialect: str = "anthropic", id: int = 1) -> wire.Warm:
    body = json.dumps(captured.body(name)).encode()
    return wire.Warm(id=id, dialect=dialect, body=body, max_tokens=512, prompt_budget_tokens=900)


@pytest.mark.parametrize(
    ("name", "dialect"),
    [("cc329-ok", "anthropic"), ("cctui-tool", "anthropic"), ("cx-tool-001", "openai-responses")],
)
def test_it_is_the_request_that_the_local_tier_would_make(name: str, dialect: str) -> None:
    """The same conversation, under the same clamps, or it would be fitted otherwise."""
    found = beginning(warm(name, dialect=dialect))
    assert found.conversation == captured.conversation(name)
    assert (found.max_tokens, found.prompt_budget_tokens) == (512, 900)
    assert (found.grammar, found.first_token_s) == (None, None)


@pytest.mark.parametrize("name", ["cctui-compact", "cctui-noness-001"])
def test_what_no_small_model_may_answer_is_not_warmed(name: str) -> None:
    """A compaction and a title request are refused with the reason."""
    with pytest.raises(CloudOnly, match="asks for"):
        beginning(warm(name))


def test_what_is_no_request_is_refused() -> None:
    """As the local tier would."""
    nonsense = wire.Warm(id=1, dialect="anthropic", body=b"\xff", max_tokens=1)
    with pytest.raises(BadRequest):
        beginning(nonsense)
    with pytest.raises(EngineError, match="no dialect 'latin'"):
        beginning(warm(dialect="latin"))


def test_whoever_wants_an_answer_goes_before_what_is_warmed() -> None:
    """In the intake's queue, too, and both in the order in which they came."""
    desk = Desk(limit=8)
    counts = [wire.Count(id, Conversation(model="m")) for id in (3, 4)]
    errands: list[Errand] = [warm(id=1), warm(id=2), *counts]
    assert all(desk.take(errand) for errand in errands)
    assert [desk.errand().id for _ in errands] == [3, 4, 1, 2]
