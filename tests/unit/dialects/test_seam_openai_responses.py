"""What the official SDK reads from a Responses stream that another model went on with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from dialect_sdk import OPENAI, context, serve
from openai.types.responses import Response
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

DIALECT = DIALECTS["openai-responses"]
TOOLS = [
    {"type": "function", "name": "weather", "parameters": WEATHER, "strict": True},
    {"type": "custom", "name": "patch"},
]


def asking(said: str, **fields: Any) -> dict[str, Any]:
    return {"model": "gpt", "input": [{"role": "user", "content": said}], **fields}


ASKED: dict[str, dict[str, Any]] = {
    "text": asking("[[say One two  three\n\nfour, five.]]"),
    "calls": asking("[[call weather]] [[call weather]]", tools=TOOLS),
    "custom": asking("[[call patch]]", tools=TOOLS),
    "thinking": asking("[[think]] [[say Four.]]"),
    "json": asking(
        "now",
        text={"format": {"type": "json_schema", "name": "w", "schema": WEATHER, "strict": True}},
    ),
}


def read(body: bytes) -> Response:
    """The response in the last event, after the SDK's accumulator took all of them."""
    serve(body)
    with OPENAI.responses.stream(model="gpt", input="hi") as stream:
        *_, last = stream
    assert last.type == "response.completed"
    return last.response


def content(response: Response, *, thinking: bool = True) -> list[Any]:
    """The items, without ids; arguments as what they mean."""
    items = (item.to_dict() for item in response.output)
    return [_item(item) for item in items if thinking or item["type"] != "reasoning"]


def _item(item: dict[str, Any]) -> Any:
    if item["type"] == "message":
        return item["role"], item["status"], [part["text"] for part in item["content"]]
    if item["type"] == "function_call":
        return item["name"], item["status"], json.loads(item["arguments"])
    return item["type"], item.get("name"), item.get("input"), item.get("encrypted_content")


@pytest.mark.parametrize("name", ASKED)
def test_cut_after_each_event(name: str) -> None:
    """Wherever the stream is cut, the joined one reads as the whole answer would have, unless
    it is cut in its reasoning; its events are numbered without a gap."""
    events = events_of("openai-responses", ASKED[name])
    whole, said = read(b"".join(events)), seam_of("openai-responses", b"".join(events[:-1])).said
    refused = set()
    for cut in range(1, len(events)):
        sent = b"".join(events[:cut])
        seam = DIALECT.seam(sent)
        if isinstance(seam, Unsplicable):
            refused.add(seam.reason)
            continue
        joined, provenance = spliced(
            "openai-responses", ASKED[name], sent, Finisher(seam.said, said)
        )
        response = read(joined)
        assert content(response) == content(whole, thinking=seam.signed_thinking)
        assert (response.id, response.created_at) == (whole.id, whole.created_at)
        assert response.usage is not None
        assert response.usage.output_tokens == seam.output_tokens + OUTPUT_TOKENS
        data = data_of(joined)
        assert [event["sequence_number"] for event in data] == list(range(len(data)))
        assert data[-1]["response"]["provenance"]["segments"] == told(seam)
        assert provenance.segments[1].from_char == len(seam.said.text)
    assert refused == ({"thinking-open"} if name == "thinking" else set())


def cut_behind(name: str, kind: str) -> bytes:
    """The stream up to and with its first event of this kind."""
    events = events_of("openai-responses", ASKED[name])
    at = next(n for n, event in enumerate(events) if event.startswith(f"event: {kind}\n".encode()))
    return b"".join(events[: at + 1])


def kinds(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in data_of(stream)]


ITEM_END = ["output_text.done", "content_part.done", "output_item.done"]


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("response.output_item.added", ["content_part.added", *ITEM_END]),
        ("response.content_part.added", ITEM_END),
        ("response.output_text.delta", ITEM_END),
        ("response.output_text.done", ITEM_END[1:]),
        ("response.content_part.done", ITEM_END[2:]),
        ("response.output_item.done", []),
    ],
)
def test_what_an_end_needs_is_all_that_is_added(kind: str, ending: list[str]) -> None:
    """If nothing is left to say, what is open is closed, and the response completed."""
    sent = cut_behind("text", kind)
    joined, _ = spliced("openai-responses", ASKED["text"], sent, saying())
    assert kinds(joined.removeprefix(sent)) == [*ending, "completed"]
    read(joined)


def test_an_item_that_was_closed_stays_closed() -> None:
    """More text behind a text that was complete is an item of its own."""
    sent = cut_behind("text", "response.output_text.done")
    joined, _ = spliced("openai-responses", ASKED["text"], sent, saying(" More."))
    first, second = (item.to_dict() for item in read(joined).output)
    assert first["id"] != second["id"]
    assert second["content"][0]["text"] == " More."  # type: ignore[index]


def test_a_call_that_broke_off_is_marked_and_can_go_on() -> None:
    """A call without the end of its arguments is for policy to decide; what is continued is
    the same item, valid by the tool's schema."""
    sent = cut_behind("calls", "response.function_call_arguments.delta")
    assert seam_of("openai-responses", sent).open_tool_call
    rest = ' "Ulm", "days": 1, "units": []}}\n</tool_call>'
    joined, _ = spliced("openai-responses", ASKED["calls"], sent, saying(rest))
    (item,) = (item.to_dict() for item in read(joined).output)
    assert json.loads(str(item["arguments"])) == {"city": "Ulm", "days": 1, "units": []}
    assert item["call_id"] == data_of(sent)[2]["item"]["call_id"]


def test_reasoning_items_are_marked() -> None:
    """Reasoning that only the cloud can vouch for is for policy to decide."""
    assert seam_of(
        "openai-responses", cut_behind("thinking", "response.output_text.delta")
    ).signed_thinking


def test_the_response_is_of_the_model_that_ended_it_and_cannot_be_fetched() -> None:
    """The final response names the last speaker and is not said to be stored; the rest of it
    is as the cloud began it."""
    sent = cut_behind("text", "response.output_text.delta")
    joined, _ = spliced("openai-responses", ASKED["text"], sent, saying(" more."))
    response = data_of(joined)[-1]["response"]
    assert (response["model"], response["store"]) == ("scripted", False)
    assert response["x_future_field"] == {"of": "a later version"}


def test_a_failure_in_the_rest_is_a_failed_response() -> None:
    """What breaks off again is told with all that was said, under the response's own id."""
    sent = cut_behind("text", "response.output_text.delta")
    seam = seam_of("openai-responses", sent)
    encoder = seam.encoder(context())
    (failed,) = data_of(encoder.error("the model died", code="local_engine_failed"))
    assert failed["response"]["id"] == data_of(sent)[0]["response"]["id"]
    assert failed["sequence_number"] == len(data_of(sent))


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def item(kind: str) -> bytes:
    return event("response.output_item.added", output_index=0, item={"type": kind, "id": "i"})


def inside(kind: str, **fields: Any) -> bytes:
    return item("message") + event(f"response.{kind}", item_id="i", content_index=0, **fields)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (item("web_search_call"), "server-tools"),
        (item("mcp_call"), "server-tools"),
        (item("message") + item("message"), "interleaved"),
        (item("reasoning"), "thinking-open"),
        (inside("refusal.delta", delta="No."), "refusal"),
        (inside("content_part.added", part={"type": "refusal"}), "refusal"),
        (inside("content_part.added", part={"type": "hologram"}), "unknown-content"),
        (inside("output_text.annotation.added", annotation={}), "citations"),
        (inside("output_text.delta", delta="a", logprobs=[{"token": "a"}]), "logprobs"),
        (item("message") + event("response.output_text.delta", content_index=1), "unknown-content"),
        (event("response.audio.delta", delta="x"), "audio"),
        (event("response.completed", response={}), "finished"),
        (event("response.failed", response={}), "error-told"),
        (event("error", message="busy"), "error-told"),
        (b"data: {oops\n\n", "malformed"),
    ],
)
def test_what_nobody_else_can_go_on_with(sent: bytes, reason: str) -> None:
    """Where going on would be a lie, the seam says why there is none."""
    seam = DIALECT.seam(event("response.created", response={"id": "r"}) + sent)
    assert isinstance(seam, Unsplicable)
    assert seam.reason == reason


def test_lines_of_any_kind_and_unknown_events_are_read_over() -> None:
    """CRLF, comments and events of a later version change nothing but the numbers."""
    sent = cut_behind("text", "response.output_text.delta")
    future = event("response.future.delta", delta="x", sequence_number=len(data_of(sent)))
    odd = (sent + b": note\n\n" + future).replace(b"\n", b"\r\n")
    assert seam_of("openai-responses", odd).said == seam_of("openai-responses", sent).said
    joined, _ = spliced("openai-responses", ASKED["text"], odd, saying(" more."))
    assert [event["sequence_number"] for event in data_of(joined)] == list(
        range(len(data_of(joined)))
    )


def test_servers_that_leave_much_out_are_read() -> None:
    """Without ids, parts and numbers there is still a response to go on with."""
    sent = (
        event("response.created", response={"id": "r"})
        + event("response.output_item.added", output_index=0, item={"type": "message"})
        + event("response.output_text.delta", output_index=0, delta="cloud")
    )
    joined, _ = spliced("openai-responses", asking("x"), sent, saying(" and more"))
    final = data_of(joined)[-1]
    assert final["response"]["output"][0]["content"][0]["text"] == "cloud and more"
    assert final["sequence_number"] == len(data_of(joined)) - 1
