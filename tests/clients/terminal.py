"""Claude Code in its interactive mode, in a terminal that a test types into and reads."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import command_line
from standin import PATIENCE_S

_KEY = "sk-ant-test"
_COLUMNS, _ROWS = 160, 50
_LOOK_S = 0.1


class Terminal:
    """A tmux session of its own server; a context manager."""

    def __init__(self, command: str, environment: Mapping[str, str], work: Path) -> None:
        self._socket = f"fallback-{uuid.uuid4().hex}"
        self._command = command
        self._environment = dict(environment)
        self._work = work

    def __enter__(self) -> Self:
        size = ["-x", str(_COLUMNS), "-y", str(_ROWS)]
        self._tmux("new-session", "-d", *size, "-c", str(self._work), self._command)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._tmux("kill-server")

    def type(self, text: str) -> None:
        """Type a line, and the key that ends it."""
        self._tmux("send-keys", "-l", text)
        self.wait(lambda screen: text in screen, f"typed {text!r}")
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def screen(self) -> str:
        """What is there to read now, with what has scrolled away; lines as they are shown."""
        return self._tmux("capture-pane", "-p", "-J", "-S", "-")

    def wait(self, wanted: Callable[[str], bool], what: str) -> str:
        """The screen, once it is as wanted. Raises `AssertionError` with what it shows instead."""
        deadline = time.monotonic() + PATIENCE_S
        while not wanted(screen := self.screen()):
            assert time.monotonic() < deadline, f"not {what}:\n{screen}"
            time.sleep(_LOOK_S)
        return screen

    def _tmux(self, *arguments: str) -> str:
        done = subprocess.run(
            ["tmux", "-L", self._socket, "-f", "/dev/null", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.stdout


def claude_code(url: str, home: Path, *, proxy: str) -> Terminal:
    """Claude Code at its prompt in an empty folder, past all that it asks a newcomer."""
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    settings = {
        "hasCompletedOnboarding": True,
        "theme": "dark",
        "customApiKeyResponses": {"approved": [_KEY[-20:]], "rejected": []},
        "projects": {str(work): {"hasTrustDialogAccepted": True}},
    }
    (home / ".claude.json").write_text(json.dumps(settings))
    client = command_line.CLIENTS[0]
    node = shutil.which("node")
    assert node, "Node.js is needed to install and run the clients"
    environment = {
        "PATH": f"{Path(node).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(home),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **{name: proxy for each in ("HTTP_PROXY", "HTTPS_PROXY") for name in (each, each.lower())},
        **client.environment(url, home),
    }
    return Terminal(client.command("")[0], environment, work)
