"""A live stream cut after any of its events is gone on with by the real model."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import asks
import httpx
import pytest
import raw_http
import valid_answers
from anthropic import Anthropic
from openai import OpenAI
from standin import StandIn, faults
from standin.faults import Fault
from standin.service import PATIENT, TERSE, Fallback, running_fallback

_TEXT = "The cloud stand-in is well, and this is its answer."
_WORDS = len(_TEXT.split())
_SEGMENTS = re.compile(rb'"segments":(\[.*?\])')
_BREAKS: dict[str, Fault] = {
    "reset": faults.reset(4),
    "half-event": faults.half_event(4),
    "cut": faults.cut(4),
}


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def service(cloud: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    log = tmp_path_factory.mktemp("service") / "fallback.log"
    short = {**TERSE, "LOCAL__MAX_OUTPUT_TOKENS": "6"}
    with running_fallback(cloud.url, log, **PATIENT, **short) as service:
        yield service


def _told(body: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_SEGMENTS.findall(body)[-1])
    return found


def _assert_joined(ask: asks.Ask, answer: raw_http.RawAnswer) -> str:
    """Whole, valid for the SDK's types, and open about its seam; gives what the cloud said."""
    assert answer.status == 200
    assert answer.whole
    seen = valid_answers.read(ask.path, streamed=True, body=answer.body)
    cloud, local = _told(answer.body)
    assert (cloud["tier"], local["tier"]) == ("cloud", "local")
    assert local["model"] == "smollm2-135m-instruct"
    assert b"\n: fallback: " in answer.body
    said = seen.text[: local["from_char"]]
    assert _TEXT.startswith(said)
    assert len(seen.text) > len(said)
    return said


@pytest.mark.parametrize("words", range(1, _WORDS))
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_a_stream_cut_after_any_event_is_finished(
    cloud: StandIn, service: Fallback, ask: asks.Ask, words: int
) -> None:
    """Its HTTP ends properly, its answer does not: nobody but us would notice."""
    with cloud.failing(faults.clean_end(words)):
        answer = raw_http.send(
            service.url, "POST", ask.path, asks.KEYS, ask.body("Say something.", stream=True)
        )
    assert len(_assert_joined(ask, answer).split()) == words


@pytest.mark.parametrize("end", _BREAKS)
@pytest.mark.parametrize("ask", asks.ASKS, ids=str)
def test_a_stream_that_breaks_in_any_way_is_finished(
    cloud: StandIn, service: Fallback, ask: asks.Ask, end: str
) -> None:
    """Of the break the client sees nothing."""
    with cloud.failing(_BREAKS[end]):
        answer = raw_http.send(
            service.url, "POST", ask.path, asks.KEYS, ask.body("Say something.", stream=True)
        )
    _assert_joined(ask, answer)


def test_the_official_sdks_join_it(cloud: StandIn, service: Fallback) -> None:
    """Their own stream helpers give one final object, and the receipt names the seam."""
    turns: Any = [{"role": "user", "content": "Say something."}]
    claude = Anthropic(base_url=service.url, api_key="sk-ant-test", max_retries=0)
    gpt = OpenAI(base_url=f"{service.url}/v1", api_key="sk-test", max_retries=0)
    with claude, gpt, cloud.failing(faults.reset(4)):
        with claude.messages.stream(
            model="claude-opus-5-5", max_tokens=64, messages=turns
        ) as messages:
            final: Any = messages.get_final_message()
            receipt = raw_http.provenance(messages.response.headers["llm-provenance"])["receipt"]
        chat = gpt.chat.completions.create(model="gpt-5.5", messages=turns, stream=True)
        content = "".join(chunk.choices[0].delta.content or "" for chunk in chat)
        events: Any = list(gpt.responses.create(model="gpt-5.5", input=turns, stream=True))
    for text in (final.content[0].text, content, events[-1].response.output_text):
        assert text.startswith("The cloud stand-in is")
    record = httpx.get(f"{service.url}/fallback/receipts/{receipt}").json()
    assert [part["tier"] for part in record["receipt"]["segments"]] == ["cloud", "local"]
