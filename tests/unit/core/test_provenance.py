"""Provenance in headers and bodies."""

from typing import Any, Literal

import http_sf
import msgspec

from fallback.core.answer import Cut
from fallback.core.outcome import AttemptFacts, classify
from fallback.core.ports import ModelIdentity
from fallback.core.provenance import (
    Attempt,
    Headers,
    Provenance,
    Segment,
    body,
    cloud_headers,
    headers,
)

MODEL = ModelIdentity(
    name="SmolLM2-135M-Instruct",
    sha256="b1" * 32,
    quantization="Q4_1",
    context_tokens=8192,
    engine="llama.cpp",
)
OVERLOADED = classify(AttemptFacts(phase="done", status=529, error_type="overloaded_error"))
LOCAL = Provenance(
    receipt="rcp_1",
    tier="local",
    upstream="anthropic",
    reason="upstream-529",
    requested_model="claude-\u00e9 \U0001f600",
    model=MODEL,
    outage="out-anthropic-20260301T000000Z",
    cuts=(Cut(what="tools", count=12, tokens=9000), Cut(what="turns", count=3, tokens=400)),
    attempts=(Attempt(upstream="anthropic", outcome=OVERLOADED),),
)


def parse(field: bytes, kind: Literal["dict", "list"]) -> Any:
    """What any RFC 9651 parser makes of a field."""
    return http_sf.parse(field, tltype=kind)


def value(found: Headers, name: bytes) -> bytes:
    return dict(found)[name]


def test_a_local_answer_says_everything_in_structured_fields() -> None:
    """LLM-Provenance is an RFC 9651 dictionary that any parser reads back."""
    parsed = parse(value(headers(LOCAL, proxy="fallback"), b"llm-provenance"), "dict")
    assert str(parsed["tier"][0]) == "local"
    assert parsed["model"][0] == "SmolLM2-135M-Instruct"
    assert parsed["model-sha256"][0] == "b1" * 32
    assert parsed["requested-model"][0] == "claude-? ?"
    assert [(str(item[0]), item[1]["n"]) for item in parsed["cut"][0]] == [
        ("tools", 12),
        ("turns", 3),
    ]


def test_proxy_status_names_what_the_upstream_did() -> None:
    """RFC 9209: error type, received status and next hop of the last attempt."""
    parsed = parse(value(headers(LOCAL, proxy="edge-1"), b"proxy-status"), "list")
    name, params = parsed[0]
    assert str(name) == "edge-1"
    assert str(params["error"]) == "destination_unavailable"
    assert params["received-status"] == 529
    assert params["next-hop"] == "anthropic"


def test_the_healthy_path_writes_what_a_serialiser_would() -> None:
    """The hand-made header of the cloud's answers is the same structured field."""
    found = cloud_headers("anthropic", 200, "rcp_2", b"cdn; received-status=200", "fallback")
    parsed = parse(value(found, b"llm-provenance"), "dict")
    assert {key: str(item[0]) for key, item in parsed.items()} == {
        "tier": "cloud",
        "upstream": "anthropic",
        "receipt": "rcp_2",
    }
    members = parse(value(found, b"proxy-status"), "list")
    assert [str(member[0]) for member in members] == ["cdn", "fallback"]
    assert value(found, b"via") == b"1.1 fallback"


def test_the_body_holds_the_same_as_plain_json() -> None:
    """The body's object has the whole model identity, the cuts and the attempts."""
    found = body(LOCAL)
    assert found["model"]["quantization"] == "Q4_1"
    assert found["cut"][0] == {"what": "tools", "count": 12, "tokens": 9000}
    assert found["attempts"][0]["outcome"] == "upstream-529"
    assert found["requested_model"] == "claude-\u00e9 \U0001f600"


def test_the_body_tells_who_spoke_from_where_on() -> None:
    """Segments are told in order, without what is not known of them."""
    began = Segment(from_char=0, tier="cloud", model="gpt", output_tokens=3, estimated=True)
    ended = Segment(from_char=12, tier="local", model="smollm2", reason="stream-reset")
    spliced = msgspec.structs.replace(LOCAL, segments=(began, ended))
    assert list(body(spliced)["segments"]) == [
        {"from_char": 0, "tier": "cloud", "model": "gpt", "output_tokens": 3, "estimated": True},
        {"from_char": 12, "tier": "local", "model": "smollm2", "reason": "stream-reset"},
    ]
    assert "segments" not in body(LOCAL)


def test_what_was_not_held_to_is_told() -> None:
    """Loosened schemas are counted in the header and told in the body."""
    told = ("/properties/a: uniqueItems is not held to",)
    loosened = msgspec.structs.replace(LOCAL, loosened=told)
    assert body(loosened)["loosened"] == list(told)
    assert b"loosened=1" in dict(headers(loosened, proxy="fallback"))[b"llm-provenance"]
    assert "loosened" not in body(LOCAL)


def test_a_requantized_model_says_what_it_was_made_of() -> None:
    """In header and body; of any other model there is nothing to say."""
    made = msgspec.structs.replace(MODEL, quantization="Q4_0", requantized_from="Q4_1")
    local = msgspec.structs.replace(LOCAL, model=made)
    assert body(local)["model"]["requantized_from"] == "Q4_1"
    assert b'requantized-from="Q4_1"' in dict(headers(local, proxy="f"))[b"llm-provenance"]
    assert "requantized_from" not in body(LOCAL)["model"]
