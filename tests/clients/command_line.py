"""Claude Code and Codex as they come from npm: installed once, run headless and shut in.

Shut in: a temporary home, no telemetry, no updates, and a proxy for everything that is not
loopback, so that a test can show that nothing wanted to leave the machine.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs

CLAUDE_CODE = "2.1.329"
CODEX = "0.169.0"

_INSTALL_S = 600
_RUN_S = 180
_CACHE = platformdirs.user_cache_path("fallback") / "clients" / f"{CLAUDE_CODE}-{CODEX}"
_PER_RUN = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"  # sessions, turns, messages
    r"|(?<=unix_ms\\\":)\d{13}"
    r"|(?<=unix_ms\":)\d{13}"
)
# The feature flags keep Codex from fetching plugins and apps.
_CODEX_CONFIG = """
model = "gpt-5.5"
model_provider = "under-test"
check_for_update_on_startup = false

[model_providers.under-test]
name = "under test"
base_url = "{url}/v1"
env_key = "OPENAI_API_KEY"
wire_api = "responses"
supports_websockets = true

[analytics]
enabled = false

[features]
plugins = false
apps = false
"""


@dataclass(frozen=True)
class Run:
    """What a client's run came to."""

    status: int
    output: str
    errors: str


@dataclass(frozen=True)
class Client:
    """A command-line client. `path` is where it asks its questions.

    `comparable` makes the bodies of two runs comparable: it takes out what differs by run.
    """

    name: str
    path: str
    command: Callable[[str], Sequence[str]]
    environment: Callable[[str, Path], Mapping[str, str]]
    comparable: Callable[[bytes], Any]

    def __str__(self) -> str:
        return self.name

    def ask(self, url: str, home: Path, prompt: str, *, proxy: str) -> Run:
        """One question, answered by the service at `url`; anything else has to go by `proxy`."""
        work = home / "work"
        work.mkdir(parents=True, exist_ok=True)
        shared = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(home), "TERM": "dumb"}
        node = shutil.which("node")
        assert node, "Node.js is needed to install and run the clients"
        shared["PATH"] = f"{Path(node).parent}:{shared['PATH']}"
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            shared |= {name: proxy, name.lower(): proxy}
        shared |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
        done = subprocess.run(
            self.command(prompt),
            env={**shared, **self.environment(url, home)},
            cwd=work,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            check=False,
        )
        return Run(done.returncode, done.stdout, done.stderr)


def install() -> None:
    """Both clients into the user's cache, once.

    No install scripts: they only make copies of the native programs that are here already.
    """
    if _claude().exists() and _codex().exists():
        return
    _CACHE.mkdir(parents=True, exist_ok=True)
    packages = [f"@anthropic-ai/claude-code@{CLAUDE_CODE}", f"@openai/codex@{CODEX}"]
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(_CACHE)]
    command = ["npm", "install", *flags, *packages]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_INSTALL_S, check=False)
    assert done.returncode == 0, done.stderr
    assert _claude().exists(), f"no Claude Code for {platform.platform()}: {done.stderr}"


def _claude() -> Path:
    """The native program: the package's own entry is a stub until install scripts have run."""
    machine = {"x86_64": "x64", "AMD64": "x64", "aarch64": "arm64"}.get(platform.machine(), "arm64")
    package = f"claude-code-{platform.system().lower()}-{machine}"
    return _CACHE / "node_modules" / "@anthropic-ai" / package / "claude"


def _codex() -> Path:
    return _CACHE / "node_modules" / ".bin" / "codex"


def _claude_command(prompt: str) -> Sequence[str]:
    return [str(_claude()), "-p", prompt, "--output-format", "text"]


def _claude_environment(url: str, _: Path) -> Mapping[str, str]:
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": "sk-ant-test",
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "DISABLE_TELEMETRY": "1",
    }


def _codex_command(prompt: str) -> Sequence[str]:
    return [str(_codex()), "exec", "--skip-git-repo-check", "--sandbox", "read-only", prompt]


def _codex_environment(url: str, home: Path) -> Mapping[str, str]:
    config = home / "codex"
    config.mkdir(exist_ok=True)
    (config / "config.toml").write_text(_CODEX_CONFIG.format(url=url))
    return {"CODEX_HOME": str(config), "OPENAI_API_KEY": "sk-test"}


def without_ids(body: bytes) -> str:
    """The bytes, less the ids and times of the run."""
    return _PER_RUN.sub("-", body.decode())


def _unordered(body: bytes) -> Any:
    """Codex writes some objects in an order that changes from run to run."""
    return json.loads(without_ids(body))


CLIENTS = (
    Client("claude-code", "/v1/messages", _claude_command, _claude_environment, without_ids),
    Client("codex", "/v1/responses", _codex_command, _codex_environment, _unordered),
)
