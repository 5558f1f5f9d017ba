"""Whether an earlier answer would do, and which."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fallback.core.stale import StaleAnswer, headers_of, key_of, window_s

ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}


def key(body: object, *, dialect: str = "anthropic", of: str = "k", tools: bool = False) -> str:
    found = key_of(dialect, of, json.dumps(body).encode(), with_tools=tools)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("value", "by_rule", "window"),
    [
        (None, 0.0, 0.0),
        (b"no-cache", 0.0, 0.0),
        (b"stale-if-error=600", 0.0, 600.0),
        (b"max-age=0, stale-if-error=600", 3600.0, 3600.0),
        (b"stale-if-error=99999999999", 0.0, 30 * 86400.0),
        (b"stale-if-error=-5", 0.0, 0.0),
        (b"stale-if-error=soon", 0.0, 0.0),
        (b"stale-if-error", 0.0, 0.0),
        (b'@@@ "', 7.0, 7.0),
    ],
)
def test_how_old_it_may_be(value: bytes | None, by_rule: float, window: float) -> None:
    """By the client or a rule; what cannot be understood asks for nothing."""
    headers = {} if value is None else {b"cache-control": value}
    assert window_s(headers, by_rule) == window


def test_the_same_question_has_the_same_key() -> None:
    """Whatever the order of its members, the spaces between them, and who asks."""
    turned = dict(reversed(ASKED.items()))
    spaced = json.dumps(turned, indent=3).encode()
    assert key_of("anthropic", "k", spaced, with_tools=False) == key(ASKED)
    assert key({**ASKED, "metadata": {"user_id": "u"}}) == key(ASKED)


@pytest.mark.parametrize(
    "other",
    [{"model": "n"}, {"stream": True}, {"temperature": 0.5}, {"max_tokens": 6}, {"system": "s"}],
)
def test_another_question_has_another_key(other: dict[str, object]) -> None:
    """Anything that could change the answer."""
    assert key({**ASKED, **other}) != key(ASKED)


def test_what_is_asked_with_another_key_is_not_shared() -> None:
    """Nor in another dialect."""
    assert key(ASKED, of="other") != key(ASKED)
    assert key(ASKED, dialect="openai-chat") != key(ASKED)


def test_an_action_is_not_done_twice() -> None:
    """A request with tools has no key, unless a rule wants it; an empty list is none."""
    with_tools = json.dumps({**ASKED, "tools": [{"name": "pay"}]}).encode()
    assert key_of("anthropic", "k", with_tools, with_tools=False) is None
    assert key_of("anthropic", "k", with_tools, with_tools=True) is not None
    assert key({**ASKED, "tools": []})


@given(st.binary(max_size=40))
def test_any_body(body: bytes) -> None:
    """What is no JSON object has no key."""
    found = key_of("anthropic", "k", body, with_tools=True)
    try:
        is_object = isinstance(json.loads(body), dict)
    except ValueError:
        is_object = False
    assert is_object or found is None


def test_its_age_is_told() -> None:
    """Whole seconds since it was given, by the clock that dated it."""
    answer = StaleAnswer(stored=100.0, origin="rcp_1", content_type="text/plain", body=b"")
    assert headers_of(answer, 161.9, "fallback") == [
        (b"content-type", b"text/plain"),
        (b"age", b"61"),
        (b"cache-status", b'fallback; hit; ttl=-61; detail="stale-if-error"'),
    ]
    assert (b"age", b"0") in headers_of(answer, 99.0, "fallback")
