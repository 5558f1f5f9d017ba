"""What answers say of themselves, streamed and whole, in every dialect."""

from __future__ import annotations

import pytest
from answers import CUT, TEXT, USAGE, answers, visible_text
from dialect_sdk import context, stream_bytes
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.answer import AnswerEvent, Finished
from fallback.core.receipt import Said
from fallback.dialects import DIALECTS
from fallback.dialects.said import said

NAMES = ("anthropic", "openai-chat", "openai-responses")
USAGE_TOLD = {"stream_options": {"include_usage": True}}


@given(answers(), st.sampled_from(NAMES))
def test_the_text_is_found(events: list[AnswerEvent], name: str) -> None:
    """All of it, from a stream as from a whole answer, whatever else is in there."""
    streamed = said(name, stream_bytes(name, events, USAGE_TOLD))
    whole = said(name, DIALECTS[name].encode_whole(context(), events))
    assert "".join((streamed.text or "").split()) == visible_text(events)
    assert "".join((whole.text or "").split()) == visible_text(events)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("events", [TEXT, CUT])
def test_the_rest_is_found(name: str, events: list[AnswerEvent]) -> None:
    """The model, an id, and the tokens."""
    assert isinstance(events[-1], Finished)
    for answer in (
        stream_bytes(name, events, USAGE_TOLD),
        DIALECTS[name].encode_whole(context(), events),
    ):
        found = said(name, answer)
        assert found.model == "smollm2"
        assert "t0k3n" in (found.id or "")
        assert found.output_tokens == USAGE.output_tokens
        assert found.cached_tokens == USAGE.cached_tokens
        assert (found.input_tokens or 0) >= USAGE.input_tokens - USAGE.cached_tokens


@pytest.mark.parametrize(
    "answer",
    [b"", b"<html>", b"{", b'{"error": {"message": "no"}}', b"data: {\n\n", b"data: [DONE]\n\n"],
)
@pytest.mark.parametrize("name", [*NAMES, "openai-embeddings", "none"])
def test_what_is_no_answer_says_nothing(name: str, answer: bytes) -> None:
    """Whatever comes, nothing is made up and nothing raised."""
    found = said(name, answer)
    assert found == Said() or found == Said(text="")


@given(st.binary(max_size=80), st.sampled_from(NAMES))
def test_anything_at_all(answer: bytes, name: str) -> None:
    """Bytes that nobody thought of raise nothing."""
    assert isinstance(said(name, b"data: " + answer + b"\n\n"), Said)
    assert isinstance(said(name, b"{" + answer), Said)
