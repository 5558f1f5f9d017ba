"""How each proxy is installed, configured and started: minimal, without logs, on loopback only.

Adding a peer is adding a class here and a line in `PEERS`. What is installed for the purpose goes
into a cache outside the tree.
"""

import getpass
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from platformdirs import user_cache_path

from healthy_path.payloads import BURST, MESSAGES, PACED, WHOLE
from healthy_path.processes import Launch

ROOT = Path(__file__).resolve().parents[3]
CACHE = user_cache_path("fallback") / "bench"


class PeerMissing(Exception):
    """The peer is not on this machine; says how it gets there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """Where a peer listens, what it passes requests to, and where its files go."""

    port: int
    upstream: str
    ca_file: Path
    directory: Path

    def write(self, name: str, text: str) -> Path:
        """Puts a configuration file in place."""
        path = self.directory / name
        path.write_text(text)
        return path


class Peer(Protocol):
    """One proxy on trial."""

    name: str

    def install(self) -> None:
        """Brings it onto this machine where it is not there yet."""

    def version(self) -> str:
        """What is installed; raises `PeerMissing`."""

    def launch(self, setup: Setup) -> Launch:
        """How to start it; writes the configuration it wants."""

    def headers(self, path: str, setup: Setup) -> tuple[str, ...]:
        """What clients of this proxy have to send besides what the SDK sends."""


def _environment(**more: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | more


def _output(*command: str | Path, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment, timeout=120
    )
    return (done.stdout + done.stderr).strip()


class Fallback:
    """This project, from the tree's own environment, without the local tier."""

    name = "fallback"
    _more: Mapping[str, str] = {}
    _program = ROOT / ".venv" / "bin" / "fallback"

    def install(self) -> None:
        """Nothing: `scripts/serve` makes the environment."""

    def version(self) -> str:
        if not self._program.exists():
            raise PeerMissing("run scripts/serve once, it makes .venv")
        return _output("git", "-C", ROOT, "describe", "--always", "--dirty")

    def launch(self, setup: Setup) -> Launch:
        return Launch(
            command=(str(self._program), "serve", "--host", "127.0.0.1", "--port", str(setup.port)),
            environment=_environment(
                FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL=setup.upstream,
                FALLBACK_UPSTREAMS__ANTHROPIC__CA_FILE=str(setup.ca_file),
                FALLBACK_UPSTREAMS__OPENAI__BASE_URL=setup.upstream,
                FALLBACK_UPSTREAMS__OPENAI__CA_FILE=str(setup.ca_file),
                FALLBACK_LOCAL__MODE="off",
                FALLBACK_STORAGE__PATH=str(setup.directory / "fallback.db"),
                **self._more,
            ),
        )

    def headers(self, path: str, setup: Setup) -> tuple[str, ...]:
        return ()


class WithoutReceipts(Fallback):
    """The same without its ledger: what that costs."""

    name = "without receipts"
    _more: Mapping[str, str] = {"FALLBACK_RECEIPTS__ENABLED": "false"}


class Nginx:
    """A plain reverse proxy from the distribution: what the machine allows."""

    name = "nginx"

    def install(self) -> None:
        if not _nginx():
            subprocess.run(("apt-get", "install", "-y", "nginx-light"), check=True)

    def version(self) -> str:
        if not (program := _nginx()):
            raise PeerMissing("apt-get install nginx-light, or --install as root")
        return _output(program, "-v").rpartition("/")[2]

    def launch(self, setup: Setup) -> Launch:
        config = setup.write("nginx.conf", _nginx_config(setup))
        program = _nginx() or "nginx"
        return Launch(
            command=(program, "-e", "stderr", "-p", str(setup.directory), "-c", str(config)),
            environment=_environment(),
        )

    def headers(self, path: str, setup: Setup) -> tuple[str, ...]:
        return ()


def _nginx() -> str | None:
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


def _nginx_config(setup: Setup) -> str:
    scheme, _, upstream = setup.upstream.partition("://")
    temporary = "\n".join(
        f"    {kind}_temp_path {setup.directory}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return f"""
user {getpass.getuser()};
daemon off;
worker_processes 1;
pid {setup.directory}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
{temporary}
    access_log off;
    keepalive_requests 1000000000;
    client_max_body_size 32m;
    client_body_buffer_size 256k;
    upstream cloud {{
        server {upstream};
        keepalive 64;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{setup.port};
        location / {{
            proxy_pass {scheme}://cloud;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_ssl_trusted_certificate {setup.ca_file};
            proxy_ssl_verify on;
            proxy_ssl_name localhost;  # it checks no addresses
        }}
    }}
}}
"""


class LiteLLM:
    """The proxy server from PyPI, in an environment of its own."""

    name = "LiteLLM"
    _home = CACHE / "litellm"

    def install(self) -> None:
        if not (self._home / "bin" / "litellm").exists():
            subprocess.run((sys.executable, "-m", "venv", self._home), check=True)
            pip = self._home / "bin" / "pip"
            subprocess.run((pip, "install", "litellm[proxy]"), check=True)

    def version(self) -> str:
        if not (self._home / "bin" / "litellm").exists():
            raise PeerMissing("run with --install")
        ask = "from importlib.metadata import version; print(version('litellm'))"
        return _output(self._home / "bin" / "python", "-c", ask)

    def launch(self, setup: Setup) -> Launch:
        # JSON is YAML.
        config = setup.write("litellm.yaml", json.dumps(_litellm_config(setup)))
        address = ("--host", "127.0.0.1", "--port", str(setup.port))
        program = self._home / "bin" / "litellm"
        return Launch(
            command=(str(program), "--config", str(config), *address, "--telemetry", "False"),
            environment=_environment(
                LITELLM_LOG="ERROR",
                LITELLM_LOCAL_MODEL_COST_MAP="True",
                LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY="True",
                SSL_CERT_FILE=str(setup.ca_file),
            ),
        )

    def headers(self, path: str, setup: Setup) -> tuple[str, ...]:
        return ()


def _litellm_config(setup: Setup) -> dict[str, object]:
    def entry(vendor: str, provider: str, kind: str, api_base: str) -> dict[str, object]:
        parameters = {
            "model": f"{provider}/{vendor}-{kind}",
            "api_base": api_base,
            "api_key": "sk-made-up",
        }
        return {"model_name": f"{vendor}-{kind}", "litellm_params": parameters}

    kinds = (WHOLE, BURST, PACED)
    messages = [entry("claude", "anthropic", kind, setup.upstream) for kind in kinds]
    chat = [entry("gpt", "openai", kind, f"{setup.upstream}/v1") for kind in kinds]
    return {
        "model_list": messages + chat,
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }


class Portkey:
    """The open gateway from npm, without its log page."""

    name = "Portkey"
    _home = CACHE / "portkey"
    _program = _home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"

    def install(self) -> None:
        if not self._program.exists():
            self._home.mkdir(parents=True, exist_ok=True)
            (self._home / "package.json").write_text(json.dumps(_PORTKEY_PACKAGE))
            npm = ("npm", "install", "--no-audit", "--no-fund", "--prefix", self._home)
            subprocess.run(npm, check=True)

    def version(self) -> str:
        if not self._program.exists() or not shutil.which("node"):
            raise PeerMissing("run with --install; it needs node and npm")
        package = json.loads((self._program.parents[1] / "package.json").read_text())
        return str(package["version"])

    def launch(self, setup: Setup) -> Launch:
        loopback = setup.write("loopback.cjs", _ONLY_LOOPBACK)
        return Launch(
            command=(
                *("node", "--require", str(loopback), str(self._program)),
                *(f"--port={setup.port}", "--headless"),
            ),
            environment=_environment(NODE_ENV="production", NODE_EXTRA_CA_CERTS=str(setup.ca_file)),
        )

    def headers(self, path: str, setup: Setup) -> tuple[str, ...]:
        provider = "anthropic" if path == MESSAGES else "openai"
        return (
            f"x-portkey-provider: {provider}",
            f"x-portkey-custom-host: {setup.upstream}/v1",
        )


# With a later node-server it answers every stream with status 500 (its issue 1389 on GitHub).
_PORTKEY_PACKAGE = {
    "dependencies": {"@portkey-ai/gateway": "*"},
    "overrides": {"@hono/node-server": "1.14.1"},
}

# It listens on every address and has no option against that.
_ONLY_LOOPBACK = """
const { Server } = require("net");
const { listen } = Server.prototype;
Server.prototype.listen = function (port, ...rest) {
  return listen.call(this, port, "127.0.0.1", ...rest.filter((each) => typeof each === "function"));
};
"""

PEERS: tuple[Peer, ...] = (Fallback(), WithoutReceipts(), Nginx(), LiteLLM(), Portkey())
