"""The local tier answers in the format of the model at hand."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import msgspec
import pytest

from fallback.core.ports import EngineStatus
from fallback.core.provenance import Provenance
from fallback.dialects import DIALECTS
from fallback.dialects.base import Seam
from fallback.local.mock import Say, Script, ScriptedEngine
from fallback.tiers.local import LocalLimits, LocalTier, StreamedAnswer, WholeAnswer

DIALECT = DIALECTS["openai-chat"]
LIMITS = LocalLimits(
    max_output_tokens=64, max_prompt_tokens=512, ready_timeout_s=1.0, keepalive_s=5.0
)
SHOWING = msgspec.structs.replace(LIMITS, show_reasoning=True)
PROVENANCE = Provenance(receipt="rcp_1", tier="local", upstream="backup", reason="outage")
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
SAID = {
    "hermes": '<think>hm</think><tool_call>\n{"name": "look", "arguments": {}}\n</tool_call>',
    "llama3": '<think>hm</think>{"name": "look", "parameters": {}}',
    "mistral": '<think>hm</think>[TOOL_CALLS][{"name": "look", "arguments": {}}]',
    "mistral-args": "<think>hm</think>[TOOL_CALLS]look[ARGS]{}",
    "harmony": "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
    "<|channel|>commentary to=functions.look <|constrain|>json<|message|>{}",
}
MARKS = {
    "hermes": "<tool_call>",
    "llama3": "<|python_tag|>",
    "mistral": "[TOOL_CALLS]",
    "mistral-args": "[ARGS]",
    "harmony": "to=functions.look",
}


class Native(ScriptedEngine):
    """An engine whose model has a format of its own."""

    def __init__(self, tool_format: str, text: str) -> None:
        super().__init__(Script(acts=tuple(map(Say, text))))
        self._tool_format = tool_format

    def status(self) -> EngineStatus:
        return msgspec.structs.replace(super().status(), tool_format=self._tool_format)


def asked(**fields: Any) -> bytes:
    said = [{"role": "user", "content": "Hi"}]
    return json.dumps({"model": "gpt", "messages": said, "tools": [TOOL], **fields}).encode()


def message(engine: ScriptedEngine, limits: LocalLimits = LIMITS) -> dict[str, Any]:
    """The message that answers."""
    tier = LocalTier(engine, limits, clock=lambda: 0.0)
    answer = asyncio.run(tier.answer("generate", DIALECT, asked(), PROVENANCE))
    assert isinstance(answer, WholeAnswer)
    found: dict[str, Any] = json.loads(answer.body)["choices"][0]["message"]
    return found


@pytest.mark.parametrize("name", SAID)
def test_calls_are_read_as_the_model_writes_them(name: str) -> None:
    """Grammar and reader are those of the format that the engine tells."""
    engine = Native(name, SAID[name])
    (call,) = message(engine)["tool_calls"]
    assert call["function"] == {"name": "look", "arguments": "{}"}
    assert "reasoning_content" not in message(engine)
    grammar = engine.requests[0].grammar
    assert grammar is not None
    assert MARKS[name] in grammar.lark.replace("\\", "")


def test_reasoning_is_shown_on_demand() -> None:
    """The operator can have it shown; a stream then begins with it."""
    engine = Native("harmony", SAID["harmony"])
    assert message(engine, SHOWING)["reasoning_content"] == "hm"
    for limits, first in ((LIMITS, "tool_calls"), (SHOWING, "reasoning_content")):
        deltas = asyncio.run(_streamed(engine, limits))
        assert next(key for delta in deltas for key in delta if key in _SAYING) == first


_SAYING = ("tool_calls", "reasoning_content")


async def _streamed(engine: ScriptedEngine, limits: LocalLimits) -> list[dict[str, Any]]:
    tier = LocalTier(engine, limits, clock=lambda: 0.0)
    answer = await tier.answer("generate", DIALECT, asked(stream=True), PROVENANCE)
    assert isinstance(answer, StreamedAnswer)
    await answer.prime()
    return await _deltas(answer)


async def _deltas(answer: StreamedAnswer) -> list[dict[str, Any]]:
    sent: list[bytes] = []

    async def send(chunk: bytes) -> None:
        sent.append(chunk)

    assert await answer.deliver(send) is None
    lines = b"".join(sent).splitlines()
    chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    return [choice["delta"] for chunk in chunks for choice in chunk.get("choices", ())]


def seam(*deltas: dict[str, Any]) -> Seam:
    """Where a stream broke off that had said this."""
    chunks = ({"id": "c", "choices": [{"delta": delta}]} for delta in deltas)
    found = DIALECT.seam(b"".join(b"data: %s\n\n" % json.dumps(chunk).encode() for chunk in chunks))
    assert isinstance(found, Seam)
    return found


def go_on(engine: ScriptedEngine, at: Seam, limits: LocalLimits, **fields: Any) -> list[Any]:
    async def story() -> list[dict[str, Any]]:
        tier = LocalTier(engine, limits, clock=lambda: 0.0)
        body = asked(stream=True, **fields)
        return await _deltas(await tier.go_on(DIALECT, body, at, PROVENANCE))

    return asyncio.run(story())


@pytest.mark.parametrize("name", SAID)
def test_a_broken_call_goes_on_in_the_models_format(name: str) -> None:
    """The beginning is written as the model would have, and its rest read so."""
    begun = {"index": 0, "function": {"name": "look", "arguments": '{"at'}}
    engine = Native(name, '": 1}')
    deltas = go_on(engine, seam({"tool_calls": [begun]}), LIMITS)
    start = ">assistant" if name == "harmony" else "</think>"
    written = SAID[name].partition(start)[2].partition("{}")[0]
    assert engine.requests[0].prefix == written + '{"at'
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert "".join(call["function"]["arguments"] for call in calls) == '": 1}'


def test_text_goes_on_in_a_channel() -> None:
    """Where text needs a frame in the model's format, its beginning has it."""
    engine = Native("harmony", " there")
    deltas = go_on(engine, seam({"content": "Hello"}), LIMITS, tools=[])
    assert engine.requests[0].prefix == "<|channel|>final<|message|>Hello"
    assert "".join(delta.get("content", "") for delta in deltas) == " there"


def test_no_reasoning_is_shown_in_the_middle_of_an_answer() -> None:
    """What a model reasons when it goes on stays home, for it has no place there."""
    engine = Native("hermes", "<think>hm</think> there")
    deltas = go_on(engine, seam({"content": "Hello"}), SHOWING)
    assert not any("reasoning_content" in delta for delta in deltas)
    assert "".join(delta.get("content", "") for delta in deltas) == "there"
