"""The local tier goes on with what another tier began."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from fallback.core.errors import EngineError, EngineNotReady
from fallback.core.provenance import Provenance, Segment
from fallback.dialects import DIALECTS
from fallback.dialects.base import Seam
from fallback.local.mock import Fail, Say, Script, ScriptedEngine
from fallback.tiers.local import LocalLimits, LocalTier

DIALECT = DIALECTS["openai-chat"]
LIMITS = LocalLimits(
    max_output_tokens=64, max_prompt_tokens=512, ready_timeout_s=1.0, keepalive_s=5.0
)
PROVENANCE = Provenance(
    receipt="rcp_1", tier="alternate", upstream="backup", reason="stream-stalled"
)
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
CALL = {"tool_calls": [{"index": 0, "function": {"name": "look", "arguments": '{"at": "the'}}]}


def asked(**fields: Any) -> bytes:
    said = [{"role": "user", "content": "Hi"}]
    return json.dumps({"model": "gpt", "stream": True, "messages": said, **fields}).encode()


def seam(text: str, *more: dict[str, Any]) -> Seam:
    """Where a stream broke off that had said this, at ten tokens."""
    fields = {"id": "c", "model": "gpt-5.5", "usage": {"completion_tokens": 10}}
    chunks = ({**fields, "choices": [{"delta": delta}]} for delta in ({"content": text}, *more))
    found = DIALECT.seam(b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks))
    assert isinstance(found, Seam)
    return found


def go_on(
    engine: ScriptedEngine, at: Seam, body: bytes, provenance: Provenance = PROVENANCE
) -> tuple[bytes, Provenance, Any]:
    """What is sent, the final provenance, and the error if there is one."""

    async def story() -> tuple[bytes, Provenance, Any]:
        tier = LocalTier(engine, LIMITS, clock=lambda: 0.0)
        answer = await tier.go_on(DIALECT, body, at, provenance)
        sent: list[bytes] = []

        async def send(chunk: bytes) -> None:
            sent.append(chunk)

        error = await answer.deliver(send)
        return b"".join(sent), answer.provenance, error

    return asyncio.run(story())


def test_the_engine_goes_on_behind_what_was_said() -> None:
    """It gets the beginning, what is left of the budget, and no grammar for what was said."""
    engine = ScriptedEngine(Script(acts=(Say(" there"),)))
    go_on(engine, seam("Hello "), asked(max_completion_tokens=25, tools=[TOOL]))
    (request,) = engine.requests
    assert (request.prefix, request.grammar_start) == ("Hello", 5)
    assert request.conversation.sampling.max_tokens == 15
    assert request.grammar is not None


def test_a_space_is_not_sent_twice() -> None:
    """The engine writes the space again that was taken from the end of its prefix."""
    engine = ScriptedEngine(Script(acts=(Say(" the"), Say(" re"))))
    sent, _, _ = go_on(engine, seam("Hello "), asked())
    assert b'"content":"the"' in sent
    assert b'"content":" re"' in sent


def test_only_open_arguments_are_counted_by_the_grammar() -> None:
    """The text before a call, and the call's head, are not the grammar's business."""
    engine = ScriptedEngine(Script(acts=(Say(' door"}}\n</tool_call>'),)))
    sent, _, _ = go_on(engine, seam("I look.", CALL), asked(tools=[TOOL]))
    (request,) = engine.requests
    assert request.prefix[request.grammar_start :] == '{"at": "the'
    assert b'"finish_reason":"tool_calls"' in sent


def test_usage_is_that_of_the_whole_answer() -> None:
    """The cloud's output tokens and ours are told together."""
    engine = ScriptedEngine(Script(acts=(Say("a"), Say("b"))))
    options = {"include_usage": True}
    sent, _, _ = go_on(engine, seam("x"), asked(stream_options=options))
    assert b'"completion_tokens":12' in sent


def test_the_provenance_names_the_seam() -> None:
    """Who spoke first and who from where on, and why; no single tier made the answer."""
    _, provenance, _ = go_on(ScriptedEngine(), seam("Hello", CALL), asked(tools=[TOOL]))
    assert provenance.segments == (
        Segment(from_char=0, tier="alternate", model="gpt-5.5", output_tokens=10),
        Segment(from_char=5, tier="local", model="scripted", reason="stream-stalled"),
    )
    assert (provenance.tier, provenance.requested_model) == ("spliced", "gpt")


@pytest.mark.parametrize(
    ("engine", "error"),
    [
        (ScriptedEngine(not_ready="it loads"), EngineNotReady),
        (ScriptedEngine(Script(acts=(Fail(EngineError("refused")),), early=True)), EngineError),
    ],
)
def test_what_cannot_go_on_is_known_before_anything_is_sent(
    engine: ScriptedEngine, error: type[Exception]
) -> None:
    """An engine that is not ready, or refuses what was said, raises and holds nothing."""
    with pytest.raises(error):
        go_on(engine, seam("Hello"), asked())
    assert len(engine.closed) == len(engine.requests)


def test_a_call_of_a_tool_that_is_not_offered_cannot_go_on() -> None:
    """Its arguments have no schema to go on by; the engine is not even asked."""
    engine = ScriptedEngine()
    with pytest.raises(EngineError, match="not offered"):
        go_on(engine, seam("", CALL), asked())
    assert engine.requests == []
