"""A worker killed in mid-answer, a model file that is not what it should be."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import anthropic
import pytest
import sdk_clients
from anthropic.types import Message
from standin.service import Fallback, ailing_fallback, running_fallback

# Nothing listens there: the discard port of a machine that runs no such service.
_NO_CLOUD = "http://127.0.0.1:9"
_ASK = "Write a long story about a lighthouse keeper, with as many details as you can."


def _killed_in_mid_stream(service: Fallback) -> Message:
    """The answer of a stream whose worker is killed after its third piece of text."""
    worker = service.status()["local"]["pid"]
    with sdk_clients.claude(service.url).messages.stream(
        model="claude-x", max_tokens=120, messages=[{"role": "user", "content": _ASK}]
    ) as stream:
        for number, _ in enumerate(stream.text_stream):
            if number == 3:
                os.kill(worker, signal.SIGKILL)
        return stream.get_final_message()


def test_a_worker_killed_in_mid_stream_costs_the_client_nothing(tmp_path: Path) -> None:
    """kill -9: the client gets one whole answer, and another worker serves the next request."""
    with running_fallback(_NO_CLOUD, tmp_path / "log") as service:
        before = service.status()["local"]["pid"]
        message = _killed_in_mid_stream(service)
        assert message.stop_reason in ("end_turn", "max_tokens")
        assert message.usage.output_tokens > 10
        after = service.status()["local"]
        assert (after["state"], after["restarts"]) == ("ready", 1)
        assert after["pid"] != before


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        ("missing", "does not exist"),
        ("truncated", "is corrupt, cut short or another"),
        ("corrupt", "is corrupt, cut short or another"),
        ("wrong-hash", "is corrupt, cut short or another"),
        ("no-gguf", "GGUF"),
    ],
)
def test_a_bad_model_file_leaves_the_proxy_alive(
    tmp_path: Path, model_path: Path, damage: str, words: str
) -> None:
    """A clear message, in the log, in `status` and in the 503; the cloud tier goes on."""
    path = tmp_path / "model.gguf"
    settings = {"LOCAL__MODEL": str(path), **_damaged(path, model_path, damage)}
    with ailing_fallback(_NO_CLOUD, tmp_path / "log", **settings) as service:
        service.await_status(lambda found: found["local"]["state"] == "failed", "failed")
        detail = service.status()["local"]["detail"]
        assert words in detail
        assert str(path) in detail
        with pytest.raises(anthropic.InternalServerError) as caught:
            sdk_clients.claude(service.url).messages.create(
                model="claude-x", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )
        assert caught.value.status_code == 503
        assert words in str(caught.value)
        assert "tier=none" in caught.value.response.headers["llm-provenance"]


def _damaged(path: Path, whole: Path, damage: str) -> dict[str, str]:
    """Make the file; the settings that pin what it should be."""
    pinned = {"LOCAL__SHA256": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"}
    if damage == "no-gguf":
        path.write_bytes(b"<html>404</html>" * 100)
        return {}
    if damage == "missing":
        return {}
    shutil.copyfile(whole, path)
    if damage == "truncated":
        os.truncate(path, 50_000_000)
    elif damage == "corrupt":
        with path.open("r+b") as file:
            file.seek(60_000_000)
            file.write(b"\x00" * 64)
    else:
        pinned = {"LOCAL__SHA256": "0" * 64}
    return pinned
