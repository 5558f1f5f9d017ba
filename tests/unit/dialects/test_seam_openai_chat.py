"""What the official SDK reads from a chat stream that another model went on with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_sdk import OPENAI, USER, serve
from openai.types.chat import ChatCompletion
from seams import (
    OUTPUT_TOKENS,
    WEATHER,
    Finisher,
    data_of,
    events_of,
    saying,
    seam_of,
    spliced,
    told,
)

from fallback.dialects import DIALECTS
from fallback.dialects.base import Unsplicable

DIALECT = DIALECTS["openai-chat"]
TOOLS = [
    {"type": "function", "function": {"name": "weather", "parameters": WEATHER}},
    {"type": "custom", "custom": {"name": "patch"}},
]


def asking(text: str, **fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": text}]
    return {"model": "gpt", "messages": said, "stream_options": {"include_usage": True}, **fields}


ASKED: dict[str, dict[str, Any]] = {
    "text": asking("[[say One two  three\n\nfour, five.]]"),
    "calls": asking("[[call weather]] [[call weather]]", tools=TOOLS),
    "json": asking(
        "now",
        response_format={"type": "json_schema", "json_schema": {"name": "w", "schema": WEATHER}},
    ),
}


def read(body: bytes) -> ChatCompletion:
    serve(body)
    with OPENAI.chat.completions.stream(model="gpt", messages=USER) as stream:
        return stream.get_final_completion()


def content(completion: ChatCompletion) -> tuple[str, list[Any]]:
    """The text, and the calls without their ids; arguments as what they mean."""
    message = completion.choices[0].message.to_dict()
    calls: Any = message.get("tool_calls") or []
    said = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in calls]
    return str(message.get("content") or ""), said


@pytest.mark.parametrize("name", ASKED)
def test_cut_after_each_event(name: str) -> None:
    """Wherever the stream is cut, the joined one reads as the whole answer would have, unless
    it is cut at its very end."""
    events = events_of("openai-chat", ASKED[name])
    finish = next(n for n, event in enumerate(events) if b'"finish_reason":"' in event)
    whole, said = read(b"".join(events)), seam_of("openai-chat", b"".join(events[:finish])).said
    for cut in range(1, len(events)):
        sent = b"".join(events[:cut])
        seam = DIALECT.seam(sent)
        if isinstance(seam, Unsplicable):
            assert (seam.reason, cut > finish) == ("finished", True)
            continue
        joined, provenance = spliced("openai-chat", ASKED[name], sent, Finisher(seam.said, said))
        completion = read(joined)
        assert content(completion) == content(whole)
        assert (completion.id, completion.created) == (whole.id, whole.created)
        assert completion.choices[0].finish_reason == whole.choices[0].finish_reason
        assert completion.usage is not None
        assert completion.usage.completion_tokens == seam.output_tokens + OUTPUT_TOKENS
        assert data_of(joined)[-1]["provenance"]["segments"] == told(seam)
        assert provenance.segments[1].from_char == len(seam.said.text)


def test_the_model_of_a_chunk_is_the_one_that_speaks() -> None:
    """Chunks keep the completion's id and time, and each names the model that made it."""
    events = events_of("openai-chat", ASKED["text"])
    joined, _ = spliced("openai-chat", ASKED["text"], b"".join(events[:3]), saying(" more."))
    chunks = data_of(joined)
    assert len({(chunk["id"], chunk["created"]) for chunk in chunks}) == 1
    assert [chunk["model"] for chunk in chunks] == ["gpt"] * 3 + ["scripted"] * 3


def test_no_role_is_told_twice() -> None:
    """The rest begins with a comment and goes on with content."""
    sent = b"".join(events_of("openai-chat", ASKED["text"])[:3])
    joined, _ = spliced("openai-chat", ASKED["text"], sent, saying(" more."))
    rest = joined.removeprefix(sent)
    assert rest.startswith(b": fallback: ")
    assert data_of(rest)[0]["choices"][0]["delta"] == {"content": " more."}
    assert b'"role"' not in rest


def test_without_the_wish_there_is_no_usage() -> None:
    """Usage comes only where the client asked for it."""
    body = {**ASKED["text"], "stream_options": None}
    sent = b"".join(events_of("openai-chat", body)[:3])
    joined, _ = spliced("openai-chat", body, sent, saying(" more."))
    assert not any("usage" in chunk for chunk in data_of(joined))


def test_a_legacy_call_goes_on() -> None:
    """A call in the old form is continued in the old form."""
    body = {**asking("now"), "functions": [{"name": "weather", "parameters": WEATHER}]}
    deltas = ({"name": "weather", "arguments": ""}, {"arguments": '{"city": "U'})
    sent = b"".join(chunk({"function_call": delta}) for delta in deltas)
    assert seam_of("openai-chat", sent).open_tool_call
    rest = 'lm", "days": 1, "units": []}}\n</tool_call>'
    joined, _ = spliced("openai-chat", body, sent, saying(rest))
    said = [event["choices"][0] for event in data_of(joined) if event["choices"]]
    arguments = [choice["delta"].get("function_call", {}).get("arguments") for choice in said]
    assert json.loads("".join(filter(None, arguments)))["city"] == "Ulm"
    assert said[-1]["finish_reason"] == "function_call"


def test_a_custom_call_goes_on() -> None:
    """The free text of a custom call goes on in its own call; only its end would show it whole."""
    body = asking("[[call patch]]", tools=TOOLS)
    events = events_of("openai-chat", body)
    sent = b"".join(events[:3])
    assert seam_of("openai-chat", sent).open_tool_call
    joined, _ = spliced("openai-chat", body, sent, saying(' \\"x\\""}\n</tool_call>'))
    deltas = [event["choices"][0]["delta"] for event in data_of(joined) if event["choices"]]
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    assert {call["index"] for call in calls} == {0}
    assert "".join(call["custom"]["input"] for call in calls) == 'Paris "x"'
    assert b'"finish_reason":"tool_calls"' in joined


def test_a_server_that_counts_in_every_chunk_is_believed() -> None:
    """Where the cloud said how many tokens it spent, nothing is estimated."""
    sent = chunk({"content": "One"}, usage={"completion_tokens": 41})
    seam = seam_of("openai-chat", sent)
    assert (seam.output_tokens, seam.estimated) == (41, False)


def chunk(delta: dict[str, Any], *, index: int = 0, **fields: Any) -> bytes:
    choice = {"index": index, "delta": delta, **fields.pop("choice", {})}
    data = {"id": "c", "created": 1, "model": "gpt", "choices": [choice], **fields}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def call_chunk(index: int, **said: str) -> bytes:
    return chunk({"tool_calls": [{"index": index, "function": said}]})


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (chunk({"content": "a"}, index=1), "several-choices"),
        (chunk({"content": "a"}, choice={"logprobs": {"content": []}}), "logprobs"),
        (chunk({"refusal": "No."}), "refusal"),
        (chunk({"audio": {"id": "a"}}), "audio"),
        (chunk({"content": "a", "annotations": [{"type": "url_citation"}]}), "citations"),
        (chunk({"reasoning_content": "hm"}), "thinking-open"),
        (chunk({"content": ""}, choice={"finish_reason": "stop"}), "finished"),
        (chunk({"content": "a"}) + b"data: [DONE]\n\n", "finished"),
        (call_chunk(0, name="weather") + chunk({"content": "a"}), "text-after-call"),
        (call_chunk(1, name="weather"), "interleaved"),
        (b'data: {"error": {"message": "busy"}}\n\n', "error-told"),
        (b"data: {oops\n\n", "malformed"),
    ],
)
def test_what_nobody_else_can_go_on_with(sent: bytes, reason: str) -> None:
    """Where going on would be a lie, the seam says why there is none."""
    seam = DIALECT.seam(chunk({"role": "assistant", "content": ""}) + sent)
    assert isinstance(seam, Unsplicable)
    assert seam.reason == reason


def test_reasoning_before_the_text_counts_as_spent() -> None:
    """Plain reasoning is no obstacle once the answer has begun, but it has used the budget."""
    thought = chunk({"reasoning_content": "x" * 400})
    seam = seam_of("openai-chat", thought + chunk({"content": "Four"}))
    assert (seam.said.text, seam.output_tokens, seam.signed_thinking) == ("Four", 101, False)
