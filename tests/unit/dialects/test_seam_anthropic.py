"""What the official SDK reads from an Anthropic stream that another model went on with."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from anthropic.types import Message
from dialect_sdk import ANTHROPIC, USER, serve
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

DIALECT = DIALECTS["anthropic"]
TOOLS = [
    {"name": "weather", "description": "", "input_schema": WEATHER},
    {"name": "clock", "description": "", "input_schema": {"type": "object", "properties": {}}},
]


def asking(text: str, **fields: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": text}]
    return {"model": "claude", "max_tokens": 900, "messages": said, **fields}


ASKED: dict[str, dict[str, Any]] = {
    "text": asking("[[say One two  three\n\nfour, five.]]"),
    "calls": asking("[[call weather]] [[call clock]] [[call weather]]", tools=TOOLS),
    "thinking": asking("[[say Four.]]", thinking={"type": "enabled", "budget_tokens": 2000}),
    "json": asking(
        "now",
        output_config={"format": {"type": "json_schema", "schema": WEATHER}},
    ),
}
REFUSED = {
    "text": {"finished", "blank-text"},
    "calls": {"finished", "blank-text"},
    "thinking": {"finished", "blank-text", "thinking-open"},
    "json": {"finished", "blank-text"},
}


def read(body: bytes) -> Message:
    serve(body)
    with ANTHROPIC.messages.stream(model="claude", max_tokens=9, messages=USER) as stream:
        return stream.get_final_message()


def content(message: Message, *, thinking: bool = True) -> list[Any]:
    """What the message says, without the ids of its calls."""
    blocks = (block.to_dict() for block in message.content)
    return [
        {key: value for key, value in block.items() if key != "id"}
        for block in blocks
        if thinking or block["type"] != "thinking"
    ]


@pytest.mark.parametrize("name", ASKED)
def test_cut_after_each_event(name: str) -> None:
    """Wherever the stream is cut, the joined one reads as the whole answer would have, unless
    it is cut in its reasoning, in a text without words yet, or at its very end."""
    events = events_of("anthropic", ASKED[name])
    whole, said = read(b"".join(events)), seam_of("anthropic", b"".join(events[:-2])).said
    refused = set()
    for cut in range(1, len(events)):
        sent = b"".join(events[:cut])
        seam = DIALECT.seam(sent)
        if isinstance(seam, Unsplicable):
            refused.add(seam.reason)
            continue
        joined, provenance = spliced("anthropic", ASKED[name], sent, Finisher(seam.said, said))
        message = read(joined)
        assert content(message) == content(whole, thinking=seam.signed_thinking)
        assert (message.id, message.stop_reason) == (whole.id, whole.stop_reason)
        assert message.usage.input_tokens == whole.usage.input_tokens
        assert message.usage.output_tokens == seam.output_tokens + OUTPUT_TOKENS
        assert data_of(joined)[-2]["provenance"]["segments"] == told(seam)
        assert list(msgspec.to_builtins(provenance.segments)) == told(seam)
    assert refused == REFUSED[name]


def test_a_block_goes_on_under_its_index() -> None:
    """The open block gets the rest, and a comment tells where another model began to speak."""
    events = events_of("anthropic", ASKED["text"])
    sent = b"".join(events[:5])
    joined, _ = spliced("anthropic", ASKED["text"], sent, saying(" and", " more."))
    rest = joined.removeprefix(sent)
    comment, _, after = rest.partition(b"\n\n")
    assert comment == (
        b": fallback: the stream broke off (stream-reset); scripted goes on from here"
    )
    assert [(event["type"], event.get("index")) for event in data_of(after)] == [
        ("content_block_delta", 0),
        ("content_block_delta", 0),
        ("content_block_stop", 0),
        ("message_delta", None),
        ("message_stop", None),
    ]


def test_a_call_that_broke_off_is_marked_and_can_go_on() -> None:
    """A call without the end of its arguments is for policy to decide; what is continued is
    valid by the tool's schema."""
    events = events_of("anthropic", ASKED["calls"])
    at = next(n for n, event in enumerate(events) if b'"partial_json":"{' in event)
    sent = b"".join(events[: at + 1])
    seam = seam_of("anthropic", sent)
    assert seam.open_tool_call
    assert seam.said.open_call is not None
    rest = ': "Ulm", "days": 1, "units": []}}\n</tool_call>'
    assert seam.said.open_call.arguments == '{"city"'
    joined, _ = spliced("anthropic", ASKED["calls"], sent, saying(rest))
    _, call = content(read(joined))
    assert call["input"] == {"city": "Ulm", "days": 1, "units": []}


def test_signed_thinking_is_marked() -> None:
    """Reasoning that only the cloud can vouch for is for policy to decide."""
    events = events_of("anthropic", ASKED["thinking"])
    assert seam_of("anthropic", b"".join(events[:-2])).signed_thinking
    assert not seam_of("anthropic", events[0]).signed_thinking


def test_what_an_end_needs_is_all_that_is_added() -> None:
    """If nothing is left to say, the stream only gets its end."""
    events = events_of("anthropic", ASKED["text"])
    closed = b"".join(events[:-2])
    joined, _ = spliced("anthropic", ASKED["text"], closed, saying())
    kinds = [event["type"] for event in data_of(joined.removeprefix(closed))]
    assert kinds == ["message_delta", "message_stop"]


def test_a_call_that_only_lacks_its_end_is_kept() -> None:
    """Arguments that are whole make a whole call, and the engine is told of it."""
    events = events_of("anthropic", ASKED["calls"])
    at = next(n for n, event in enumerate(events) if b'"content_block_stop","index":1' in event)
    engine = saying()
    joined, _ = spliced("anthropic", ASKED["calls"], b"".join(events[:at]), engine)
    assert read(joined).stop_reason == "tool_use"
    assert engine.requests[0].prefix.endswith("}\n</tool_call>")


START = b'event: message_start\ndata: {"type":"message_start","message":{"id":"m","usage":{}}}\n\n'


def started(block: dict[str, Any]) -> bytes:
    data = {"type": "content_block_start", "index": 0, "content_block": block}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def grown(delta: dict[str, Any]) -> bytes:
    data = {"type": "content_block_delta", "index": 0, "delta": delta}
    return b"data: " + json.dumps(data).encode() + b"\n\n"


TEXT = started({"type": "text", "text": ""})


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (started({"type": "server_tool_use", "name": "web_search"}), "server-tools"),
        (started({"type": "mcp_tool_use"}), "server-tools"),
        (started({"type": "web_search_tool_result"}), "server-tools"),
        (started({"type": "hologram"}), "unknown-content"),
        (started({"type": "redacted_thinking", "data": "x"}), "thinking-open"),
        (TEXT + grown({"type": "citations_delta", "citation": {}}), "citations"),
        (TEXT + grown({"type": "text_delta", "text": "a"}) + TEXT, "interleaved"),
        (b"data: {oops\n\n", "malformed"),
        (b'event: error\ndata: {"error": {"type": "overloaded_error"}}\n\n', "error-told"),
    ],
)
def test_what_nobody_else_can_go_on_with(sent: bytes, reason: str) -> None:
    """Where going on would be a lie, the seam says why there is none."""
    seam = DIALECT.seam(START + sent)
    assert isinstance(seam, Unsplicable)
    assert seam.reason == reason
    assert seam.message.startswith("no other model can go on with it, for ")


def test_lines_of_any_kind_and_unknown_events_are_read_over() -> None:
    """CRLF, comments, pings and events of a later version change nothing."""
    events = b"".join(events_of("anthropic", ASKED["text"])[:5])
    future = b'event: x_future\ndata: {"type": "x_future"}\n\n'
    sent = (events + b": note\n\n" + future).replace(b"\n", b"\r\n")
    assert seam_of("anthropic", sent).said == seam_of("anthropic", events).said
