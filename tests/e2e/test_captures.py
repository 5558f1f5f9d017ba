"""Every recorded request of a real client, answered by the real model with the cloud away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import raw_http
import valid_answers
from anthropic.types import MessageTokensCount, ModelInfo
from openai.types import Model
from standin import HOST, free_port
from standin.service import PATIENT, Fallback, running_fallback

_CAPTURES = Path(__file__).parents[1] / "captures"
_FILES = sorted(_CAPTURES.glob("*.json"))
# Enough for most tool calls to end by themselves, little enough for two cores.
_BRIEF = {"LOCAL__MAX_OUTPUT_TOKENS": "48", "LOCAL__MAX_PROMPT_TOKENS": "256"}
# A compaction by a small model would replace the session's history for good; the title is the
# first of the two questions that Claude Code asks at its start.
_CLOUD_ONLY = ("cctui-compact-002", "cctui-toolong-003", "cctui-toolong-004", "cctui-noness-001")
_REPLACED = {"host", "content-length", "connection", "accept-encoding"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fallback]:
    log = tmp_path_factory.mktemp("service") / "fallback.log"
    nobody = f"http://{HOST}:{free_port()}"
    with running_fallback(nobody, log, **PATIENT, **_BRIEF) as service:
        yield service


@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.stem)
def test_capture_gets_a_valid_answer(service: Fallback, file: Path) -> None:
    """The answer is valid by the official SDK's types, events in order, and says who made it."""
    capture = json.loads(file.read_text())
    answer = _send(service, capture)
    if "upgrade" in {name.lower() for name, _ in capture["headers"]}:
        assert answer.status == 426
        return
    if file.stem.startswith(_CLOUD_ONLY):
        assert answer.status == 503
        assert answer.header("x-should-retry") == "false"
        assert json.loads(answer.body)["error"]["code"] == "cloud_only"
        return
    assert answer.status == 200, answer.body
    assert answer.whole
    assert answer.provenance["tier"] == "local"
    if capture["method"] == "POST" and not capture["path"].endswith("/count_tokens"):
        _assert_valid_generation(capture, answer)
    else:
        _assert_valid_other(capture, answer)


def _send(service: Fallback, capture: dict[str, Any]) -> raw_http.RawAnswer:
    target = capture["path"] + (f"?{capture['query']}" if capture["query"] else "")
    upgrades = any(name.lower() == "upgrade" for name, _ in capture["headers"])
    replaced = _REPLACED - ({"connection"} if upgrades else set())
    headers = [(name, value) for name, value in capture["headers"] if name.lower() not in replaced]
    body = None if capture["body"] is None else json.dumps(capture["body"]).encode()
    return raw_http.send(service.url, capture["method"], target, headers, body)


def _assert_valid_generation(capture: dict[str, Any], answer: raw_http.RawAnswer) -> None:
    asked = capture["body"]
    streamed = bool(asked.get("stream"))
    content_type = answer.header("content-type") or ""
    assert content_type.startswith("text/event-stream" if streamed else "application/json")
    seen = valid_answers.read(capture["path"], streamed=streamed, body=answer.body)
    told = answer.provenance
    assert seen.model == told["model"] != asked["model"]
    assert told["requested-model"] == asked["model"]
    assert seen.provenance is not None
    assert seen.provenance["receipt"] == told["receipt"]
    _assert_known_calls(asked, seen)


def _assert_known_calls(asked: dict[str, Any], seen: valid_answers.Seen) -> None:
    offered = {_name(tool): tool for tool in asked.get("tools") or []}
    for name, arguments in seen.calls:
        assert name in offered, f"calls {name}, which nobody offered"
        if offered[name].get("type") != "custom" and not seen.cut:
            assert isinstance(json.loads(arguments), dict)


def _name(tool: dict[str, Any]) -> str | None:
    name = tool.get("name") or tool.get("function", {}).get("name")
    return None if name is None else str(name)


def _assert_valid_other(capture: dict[str, Any], answer: raw_http.RawAnswer) -> None:
    if capture["method"] == "HEAD":
        assert answer.body == b""
    elif capture["path"].endswith("/count_tokens"):
        assert MessageTokensCount.model_validate_json(answer.body).input_tokens > 0
    else:
        kind = Model if capture["path"] == "/v1/models" and _is_openai(capture) else ModelInfo
        for model in json.loads(answer.body)["data"]:
            kind.model_validate(model)


def _is_openai(capture: dict[str, Any]) -> bool:
    return "anthropic-version" not in {name.lower() for name, _ in capture["headers"]}
