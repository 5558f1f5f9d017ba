"""No request breaks a decoder: it is understood, or it is the client's mistake."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from dialect_sdk import context
from hypothesis import given, settings
from hypothesis import strategies as st

from fallback.core.answer import AnswerEvent, Finished, Started, Usage
from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest
from fallback.dialects import DIALECTS

# The words of the protocols, so that random bodies reach deep into the decoders.
_VOCABULARY = """
    model messages input role content type text system developer user assistant tool function
    image image_url input_image source base64 url data media_type title document thinking name
    tool_use tool_result tool_use_id tool_call_id call_id id tools tool_choice input_schema
    parameters functions function_call tool_calls arguments custom format grammar syntax lark
    definition output output_config output_format response_format json_schema schema stop
    stop_sequences temperature max_tokens seed stream reasoning summary function_call_output
    local_shell_call action namespace additional_tools tool_search_output defer_loading
    allowed_tools mode instructions file input_file filename refusal metadata stream_options
    include_usage any named required none auto tool_reference tool_name"""
_WORDS = st.sampled_from(_VOCABULARY.split())
_leaves = st.none() | st.booleans() | st.integers() | st.floats() | _WORDS | st.text(max_size=3)
_values = st.recursive(
    _leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_WORDS, inner, max_size=6),
    max_leaves=25,
)
_bodies = st.fixed_dictionaries(
    {"messages": _values, "input": _values},
    optional=dict.fromkeys(
        ("system", "tools", "tool_choice", "functions", "text", "instructions"), _values
    ),
)


def read(name: str, body: bytes) -> tuple[Conversation, Any] | None:
    try:
        return DIALECTS[name].decode(body)
    except BadRequest:
        return None


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(body=_bodies | _values)
def test_any_json_is_survived(name: str, body: Any) -> None:
    """Any JSON is a conversation that can be sent to the worker, or a bad request."""
    decoded = read(name, json.dumps(body).encode())
    if decoded is not None:
        conversation, _ = decoded
        assert conversation.turns
        sent = msgspec.json.encode(conversation)
        assert msgspec.json.decode(sent, type=Conversation) == conversation


@pytest.mark.parametrize("name", DIALECTS)
@settings(max_examples=40, deadline=None)
@given(body=_bodies)
def test_any_request_can_be_answered(name: str, body: dict[str, Any]) -> None:
    """Whatever a request says, the answer that echoes it can be written."""
    decoded = read(name, json.dumps(body).encode())
    if decoded is not None:
        usage = Usage(input_tokens=1, output_tokens=0)
        events: list[AnswerEvent] = [Started(input_tokens=1), Finished(reason="end", usage=usage)]
        answer = DIALECTS[name].encode_whole(context(dict(decoded[1])), events)
        assert json.loads(answer)["provenance"]


@pytest.mark.parametrize("name", DIALECTS)
@given(body=st.binary())
def test_any_bytes_are_survived(name: str, body: bytes) -> None:
    """Any bytes are a conversation or a bad request."""
    read(name, body)


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages": [], "input": []}',
        b'{"messages": "hi", "input": 1}',
        b'{"messages": [7], "input": [7]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": ' + b"[" * 100_000,
    ],
)
def test_what_no_server_could_answer_is_refused(name: str, body: bytes) -> None:
    """A body that is no request is the client's mistake, and the message says which."""
    with pytest.raises(BadRequest, match=r"body|messages|input"):
        DIALECTS[name].decode(body)


@pytest.mark.parametrize("name", DIALECTS)
def test_deep_nesting_is_survived(name: str) -> None:
    """Content nested as deep as JSON may be does not exhaust the stack."""
    block: dict[str, Any] = {"type": "text", "text": "deep"}
    for _ in range(150):
        block = {"type": "tool_result", "content": [block]}
    message = {"role": "user", "content": [block, {"type": "text", "text": "hi"}]}
    body = json.dumps({"messages": [message], "input": [message]}).encode()
    assert DIALECTS[name].decode(body)[0].turns
