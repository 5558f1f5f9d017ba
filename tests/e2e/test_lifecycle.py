"""What signals, sudden death and a second service mean for clients, the worker and the port."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sdk_clients
from anthropic.types import Message
from standin import PATIENCE_S, StandIn, faults
from standin.service import TERSE, Fallback, running_fallback

_NO_CLOUD = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def clouds() -> Iterator[StandIn]:
    with StandIn() as clouds:
        yield clouds


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def _await_end(pid: int) -> None:
    """Until no process of this id runs."""
    limit = time.monotonic() + PATIENCE_S
    while _runs(pid):
        assert time.monotonic() < limit, f"{pid} is still there"
        time.sleep(0.02)


def _refuses(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) != 0


def _streamed(service: Fallback, once: threading.Event, until: threading.Event) -> Message:
    """A stream's message; `once` is set at its first text, then `until` is waited for."""
    with sdk_clients.claude(service.url).messages.stream(
        model="claude-x", max_tokens=20, messages=[{"role": "user", "content": "Tell a story."}]
    ) as stream:
        for _ in stream.text_stream:
            if not once.is_set():
                once.set()
                assert until.wait(PATIENCE_S)
        return stream.get_final_message()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_cloud_stream_finish(
    tmp_path: Path, clouds: StandIn, pool: ThreadPoolExecutor, sent: signal.Signals
) -> None:
    """No new connection is taken, the stream comes whole, and then nothing is left."""
    clouds.heal()
    clouds.script(faults.stall(2))
    with running_fallback(clouds.url, tmp_path / "log") as service:
        worker = service.status()["local"]["pid"]
        begun, closed = threading.Event(), threading.Event()
        asking = pool.submit(_streamed, service, begun, closed)
        assert begun.wait(PATIENCE_S)
        os.kill(service.pid, sent)
        limit = time.monotonic() + PATIENCE_S
        while not _refuses(service.url):
            assert time.monotonic() < limit, "the port is still open"
        closed.set()
        clouds.release()
        assert asking.result(PATIENCE_S).stop_reason == "end_turn"
        _await_end(service.pid)
        _await_end(worker)
    assert "Traceback" not in service.text()


def test_sigterm_lets_a_local_stream_finish(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    """The worker ends after the answers that it was giving."""
    with running_fallback(_NO_CLOUD, tmp_path / "log", **TERSE) as service:
        worker = service.status()["local"]["pid"]
        begun, goes_on = threading.Event(), threading.Event()
        asking = pool.submit(_streamed, service, begun, goes_on)
        assert begun.wait(PATIENCE_S)
        os.kill(service.pid, signal.SIGTERM)
        goes_on.set()
        assert asking.result(PATIENCE_S).stop_reason in ("end_turn", "max_tokens")
        _await_end(service.pid)
        _await_end(worker)


def test_a_killed_proxy_leaves_no_worker(tmp_path: Path) -> None:
    """kill -9: the worker reads the end of its stdin."""
    with running_fallback(_NO_CLOUD, tmp_path / "log") as service:
        worker = service.status()["local"]["pid"]
        assert _runs(worker)
        os.kill(service.pid, signal.SIGKILL)
        _await_end(worker)


def test_two_services_live_side_by_side(tmp_path: Path) -> None:
    """Each on its own port with its own worker; a third on a taken one says so and ends."""
    with (
        running_fallback(_NO_CLOUD, tmp_path / "one") as one,
        running_fallback(_NO_CLOUD, tmp_path / "two") as two,
    ):
        assert one.status()["local"]["pid"] != two.status()["local"]["pid"]
        port = one.url.rpartition(":")[2]
        command = [str(Path(sys.executable).with_name("fallback")), "serve", "--port", port]
        third = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert third.returncode == 2
        assert f"cannot listen on 127.0.0.1, port {port}" in third.stderr
