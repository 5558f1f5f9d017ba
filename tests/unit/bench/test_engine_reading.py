"""Streams of both sides -> answers with their times."""

import json
from itertools import pairwise
from typing import Any

import pytest
from engine_peer.reading import Answer, BadStream, Call, ChatReading, MessagesReading, Reading
from hypothesis import given
from hypothesis import strategies as st


def sse(*events: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}], "usage": None}


def usage(prompt: int, cached: int, output: int) -> dict[str, Any]:
    details = {"cached_tokens": cached}
    counts = {"prompt_tokens": prompt, "completion_tokens": output}
    return {"choices": [], "usage": {**counts, "prompt_tokens_details": details}}


# What llama-server sends: content that is null at first, timings beside the usage.
LLAMA_SERVER = (
    sse(
        delta(role="assistant", content=None),
        delta(content="Hel"),
        delta(content="lo"),
        delta(finish="stop"),
        {**usage(30, 12, 2), "timings": {"predicted_n": 2}},
    )
    + b"data: [DONE]\n\n"
)
OURS = (
    sse(delta(role="assistant", content="", refusal=None), delta(content="Hello"))
    + sse(delta(), delta(finish="length"), usage(30, 12, 2))
    + b"data: [DONE]\n\n"
)


def read(reading: Reading, *parts: tuple[float, bytes]) -> Answer:
    for at, data in parts:
        reading.feed(data, at)
    return reading.answer(parts[-1][0] + 1)


@pytest.mark.parametrize(("stream", "parts"), [(LLAMA_SERVER, 2), (OURS, 1)])
def test_chat(stream: bytes, parts: int) -> None:
    """Both sides' chunks are read alike: text, parts with content, tokens, of these cached."""
    answer = read(ChatReading(1.0), (3.0, stream))
    assert answer.text == "Hello"
    assert answer.content_at == (3.0,) * parts
    assert (answer.prompt_tokens, answer.cached_tokens, answer.output_tokens) == (30, 12, 2)
    assert (answer.first_token_s, answer.whole_s, answer.prefilled_tokens) == (2.0, 3.0, 18)


@given(st.lists(st.integers(1, len(LLAMA_SERVER) - 1), max_size=6))
def test_chat_cut_anywhere(cuts: list[int]) -> None:
    """Where the network cuts a stream changes nothing of the answer."""
    reading = ChatReading(0.0)
    edges = [0, *sorted(cuts), len(LLAMA_SERVER)]
    for begin, end in pairwise(edges):
        reading.feed(LLAMA_SERVER[begin:end], 1.0)
    assert reading.answer(2.0) == read(ChatReading(0.0), (1.0, LLAMA_SERVER))


def test_time_of_parts() -> None:
    """Each part of the content has the time at which it came; keep-alives have none."""
    answer = read(
        ChatReading(0.0),
        (1.0, sse(delta(role="assistant", content=""))),
        (2.0, sse(delta(content="a"))),
        (3.0, b": ping\n\n" + sse(delta())),
        (4.0, sse(delta(content="b"))),
        (5.0, sse(delta(finish="stop"), usage(1, 0, 2)) + b"data: [DONE]\n\n"),
    )
    assert answer.content_at == (2.0, 4.0)


def test_tool_calls() -> None:
    """Pieces of several calls come together by their index, and are content."""

    def piece(index: int, **function: str) -> dict[str, Any]:
        return delta(tool_calls=[{"index": index, "function": function}])

    answer = read(
        ChatReading(0.0),
        (1.0, sse(piece(0, name="look", arguments=""), piece(0, arguments='{"a"'))),
        (2.0, sse(piece(1, name="go", arguments="{}"), piece(0, arguments=":1}"))),
        (3.0, sse(delta(finish="tool_calls"), usage(1, 0, 9)) + b"data: [DONE]\n\n"),
    )
    assert answer.calls == (Call("look", '{"a":1}'), Call("go", "{}"))
    assert answer.content_at == (1.0, 1.0, 2.0, 2.0)


@pytest.mark.parametrize(
    "stream",
    [
        LLAMA_SERVER.removesuffix(b"data: [DONE]\n\n"),
        sse(delta(content="a"), usage(1, 0, 1)) + b"data: [DONE]\n\n",
        sse(delta(content="a"), delta(finish="stop")) + b"data: [DONE]\n\n",
        sse(delta(finish="stop"), usage(1, 0, 0)) + b"data: [DONE]\n\n",
    ],
    ids=["no end", "no finish reason", "no usage", "no content"],
)
def test_no_whole_answer(stream: bytes) -> None:
    """What is not a whole answer with usage is none: its figures would be wrong."""
    with pytest.raises(BadStream):
        read(ChatReading(0.0), (1.0, stream))


def test_error_in_the_stream() -> None:
    """An error in mid-stream ends the reading with its message."""
    with pytest.raises(BadStream, match="out of memory"):
        read(ChatReading(0.0), (1.0, sse(delta(content="a"), {"error": "out of memory"})))


MESSAGES = (
    {"type": "message_start", "message": {"usage": {"input_tokens": 50, "output_tokens": 0}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "ping"},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "So"}},
    {"type": "content_block_stop", "index": 0},
    {
        "type": "content_block_start",
        "index": 1,
        "content_block": {"type": "tool_use", "id": "t", "name": "look", "input": {}},
    },
    {
        "type": "content_block_delta",
        "index": 1,
        "delta": {"type": "input_json_delta", "partial_json": '{"a":1}'},
    },
    {"type": "content_block_stop", "index": 1},
    {
        "type": "message_delta",
        "delta": {"stop_reason": "tool_use"},
        "usage": {"input_tokens": 20, "cache_read_input_tokens": 30, "output_tokens": 7},
    },
    {"type": "message_stop"},
)


def test_messages() -> None:
    """An answer of the Messages API: its cached tokens are part of the prompt's here."""
    answer = read(
        MessagesReading(0.0), *((float(at), sse(each)) for at, each in enumerate(MESSAGES))
    )
    assert (answer.text, answer.calls) == ("So", (Call("look", '{"a":1}'),))
    assert (answer.prompt_tokens, answer.cached_tokens, answer.output_tokens) == (50, 30, 7)
    assert answer.content_at == (3.0, 5.0, 6.0)
    assert answer.finish_reason == "tool_use"


def test_messages_without_an_end() -> None:
    """A message that does not stop is no whole answer."""
    with pytest.raises(BadStream):
        read(MessagesReading(0.0), (0.0, sse(*MESSAGES[:-1])))
