"""The official SDKs against the service: healthy, with the cloud killed, and with it back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import raw_http
import sdk_calls
from standin import StandIn, free_port, standin_process
from standin.service import EAGER, PATIENT, Fallback, running_fallback

_SHORT = {"LOCAL__MAX_OUTPUT_TOKENS": "256", "LOCAL__MAX_PROMPT_TOKENS": "512"}


@pytest.fixture(scope="module")
def cloud() -> Iterator[StandIn]:
    with StandIn() as cloud:
        yield cloud


@pytest.fixture(scope="module")
def service(cloud: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    log = tmp_path_factory.mktemp("service") / "fallback.log"
    with running_fallback(cloud.url, log, **PATIENT, **_SHORT) as service:
        yield service


@pytest.mark.parametrize("name", sdk_calls.NAMES)
def test_healthy_cloud_is_untouched(cloud: StandIn, service: Fallback, name: str) -> None:
    """While the cloud is well, request and answer are those of going direct."""
    heads: list[Mapping[str, str]] = []
    cloud.forget()
    direct = sdk_calls.call(name, cloud.url, heads)
    through = sdk_calls.call(name, service.url, heads)
    assert through == direct
    sent, arrived = cloud.requests
    assert (arrived.method, arrived.target, arrived.body) == (sent.method, sent.target, sent.body)
    assert raw_http.request_headers(arrived.headers) == raw_http.request_headers(sent.headers)
    assert raw_http.provenance(heads[-1].get("llm-provenance"))["tier"] == "cloud"


@pytest.mark.parametrize("name", sdk_calls.NAMES)
def test_dead_cloud_is_answered_locally(cloud: StandIn, service: Fallback, name: str) -> None:
    """The request after the cloud's death is answered here; its client sees no error."""
    heads: list[Mapping[str, str]] = []
    sdk_calls.call(name, service.url, heads)
    cloud.kill()
    try:
        answer = sdk_calls.call(name, service.url, heads)
    finally:
        cloud.revive()
    cloud_told, told = (raw_http.provenance(head.get("llm-provenance")) for head in heads)
    assert (cloud_told["tier"], told["tier"]) == ("cloud", "local")
    _assert_true(answer, told)


def _assert_true(answer: Any, told: Mapping[str, Any]) -> None:
    """Names the model that answered, and counts what it said."""
    if isinstance(answer, list):
        assert [model["id"] for model in answer] == [told["model"]]
    elif "input_tokens" in answer:
        assert answer["input_tokens"] > 0
    else:
        assert answer["model"] == told["model"]
        usage = answer["usage"]
        assert usage is None or usage.get("output_tokens") or usage["completion_tokens"]
        assert usage is not None or answer["object"] == "chat.completion", "chat sends it if asked"


@pytest.mark.parametrize("name", ["messages_stream", "chat_stream", "responses_stream"])
def test_cloud_that_dies_and_comes_back(tmp_path: Path, name: str) -> None:
    """Killed between two requests and started again: cloud, local, local, cloud; no error."""
    heads: list[Mapping[str, str]] = []
    upstream = "anthropic" if name == "messages_stream" else "openai"
    with (
        standin_process(free_port(), tmp_path / "standin.log") as process,
        running_fallback(process.url, tmp_path / "fallback.log", **EAGER, **_SHORT) as service,
    ):
        before = sdk_calls.call(name, service.url, heads)
        process.kill()
        for _ in range(4):
            sdk_calls.call(name, service.url, heads)
        service.await_health(upstream, "down")
        sdk_calls.call(name, service.url, heads)
        process.start()
        service.await_health(upstream, "recovering")
        assert sdk_calls.call(name, service.url, heads) == before
        service.await_health(upstream, "healthy")
        assert sdk_calls.call(name, service.url, heads) == before
    tiers = [raw_http.provenance(head.get("llm-provenance"))["tier"] for head in heads]
    assert tiers == ["cloud", *["local"] * 5, "cloud", "cloud"]
