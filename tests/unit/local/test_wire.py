from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.answer import Cut
from fallback.core.conversation import Conversation, Text, Tool, Turn
from fallback.core.ports import GenerateRequest
from fallback.local import wire

BIG = 10**30
CONVERSATION = Conversation(
    model="m",
    turns=(Turn("user", (Text("größer \x00 \N{PILE OF POO}"),)),),
    tools=(Tool(name="t", parameters={"type": "integer", "maximum": BIG}),),
)
REQUEST = GenerateRequest(
    id="r", conversation=CONVERSATION, max_tokens=5, prompt_budget_tokens=100, prefix="So"
)
REPLIES: list[wire.ToParent] = [
    wire.Started(id=1, input_tokens=3, cuts=(Cut(what="tools", count=2, tokens=900),)),
    wire.Piece(id=1, text="Hé", output_tokens=1),
    wire.Finished(id=1, reason="end", input_tokens=3, output_tokens=1),
    wire.Pong(progress=1, active=2, queued=3),
]


@given(st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_any_cut_gives_the_same_messages(sizes: list[int]) -> None:
    """However the bytes are cut on their way, the same messages come out, once and in order."""
    data = b"".join(wire.encode(reply) for reply in REPLIES)
    decoder = wire.parent_decoder()
    heard: list[wire.ToParent] = []
    begin = 0
    for size in [*sizes, len(data)]:
        heard += decoder.feed(data[begin : begin + size])
        begin += size
    assert heard == REPLIES
    assert repr(decoder) == "<FrameDecoder buffered=0>"


def test_requests_survive() -> None:
    """A conversation arrives as it was sent, integers beyond 64 bits included."""
    message = wire.Generate(7, REQUEST)
    assert list(wire.worker_decoder().feed(wire.encode(message))) == [message]


@pytest.mark.parametrize(
    "garbage",
    [
        b"llama_model_loader: loaded meta data\n",
        (wire.MAX_FRAME_BYTES + 1).to_bytes(4, "big"),
        b"\x00\x00\x00\x02{]",
        b'\x00\x00\x00\x10{"type":"other"}',
        b'\x00\x00\x00\x0f{"type":"ping"}',
    ],
)
def test_garbage(garbage: bytes) -> None:
    """Bytes that are not this protocol, or the other side's part of it, are refused."""
    with pytest.raises(wire.ProtocolError):
        list(wire.parent_decoder().feed(garbage))


def test_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message over the limit is refused before it is sent."""
    monkeypatch.setattr(wire, "MAX_FRAME_BYTES", 100)
    with pytest.raises(ValueError, match="over the 100 allowed"):
        wire.encode(wire.Generate(1, REQUEST))


def test_broken_unicode() -> None:
    """Half a surrogate pair cannot be sent, and says so as a `ValueError`."""
    with pytest.raises(ValueError, match="surrogates"):
        wire.encode(wire.Piece(id=1, text="\ud800", output_tokens=1))
