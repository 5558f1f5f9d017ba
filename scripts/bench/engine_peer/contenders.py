"""How each side is started: with the same settings as the other, or as it comes.

*The same* are llama-server's defaults, spelled out for both: flash attention, 512 tokens at once,
16 bit KV, a part of the context for each slot; no drafts, nothing kept beyond the slots.
*As it comes* names the model, and how much context for how many slots, because the task needs it.

Adding a contender is adding a class here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import msgspec
from healthy_path.processes import Launch

from engine_peer.build import PYTHON, ROOT, llama_server
from fallback.local.settings import WorkerSettings

OURS, PEER = "fallback", "llama-server"
_BATCH_TOKENS = 512
_PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What both are given. `slot_tokens` is the context of one request, prompt and answer."""

    model: Path
    slots: int
    slot_tokens: int
    threads: int
    gpu_layers: int = 0

    @property
    def context_tokens(self) -> int:
        """The context of all slots."""
        return self.slots * self.slot_tokens


class Contender(Protocol):
    """One side, set up for one task."""

    @property
    def name(self) -> str:
        """What it is called in the report."""

    @property
    def ready(self) -> str:
        """What it writes once it can answer."""

    @property
    def calibrates(self) -> bool:
        """Whether it measures the machine when it is left alone, and remembers that."""

    def launch(self, port: int, directory: Path) -> Launch:
        """How to start it; writes the files it wants into the directory."""


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """The peer with these options besides the task's; `same` spells its defaults out."""

    task: Task
    same: bool = False
    options: tuple[str, ...] = ()
    name: str = PEER
    ready: str = "llama_server: listening on"
    calibrates: bool = False

    def launch(self, port: int, directory: Path) -> Launch:
        task = self.task
        command = [str(llama_server()), "--model", str(task.model), "--port", str(port)]
        command += ["--ctx-size", str(task.context_tokens), "--parallel", str(task.slots)]
        command += ["--no-ui", "--offline"]
        if task.gpu_layers:
            command += ["--gpu-layers", str(task.gpu_layers)]
        if self.same:
            command += ["--threads", str(task.threads), "--cache-ram", "0", "--no-kv-unified"]
            command += ["--flash-attn", "on", "--batch-size", str(_BATCH_TOKENS)]
            command += ["--ubatch-size", str(_BATCH_TOKENS)]
        return Launch(command=(*command, *self.options), environment=_environment())


@dataclass(frozen=True, slots=True)
class Ours:
    """Our service, as `fallback serve` starts it.

    All requests go to the local tier. The deadline does not make prompts smaller here: both sides
    are to read the same.
    """

    task: Task
    calibrates: bool
    name: str = OURS
    ready: str = "local is ready"

    def launch(self, port: int, directory: Path) -> Launch:
        task, program = self.task, ROOT / ".venv" / "bin" / "fallback"
        settings = {
            "MODEL": str(task.model),
            "CONTEXT_TOKENS": str(task.context_tokens),
            "REQUEST_TOKENS": str(task.slot_tokens),
            "SLOTS": str(task.slots),
            "CALIBRATE": "auto" if self.calibrates else "off",
        }
        return Launch(
            command=(str(program), "serve", "--port", str(port)),
            environment={
                **_patient_environment(directory),
                **{f"FALLBACK_LOCAL__{key}": value for key, value in settings.items()},
            },
        )


@dataclass(frozen=True, slots=True)
class OursSame:
    """Our service with the peer's settings; `changes` are on top of them."""

    task: Task
    changes: Mapping[str, Any]
    name: str = OURS
    ready: str = "local is ready"
    calibrates: bool = False

    def launch(self, port: int, directory: Path) -> Launch:
        settings = msgspec.json.encode(self._worker()).decode()
        return Launch(
            command=(str(PYTHON), "-m", "engine_peer.service", str(port), settings),
            environment={
                **_patient_environment(directory),
                "PYTHONPATH": str(Path(__file__).parents[1]),
            },
        )

    def _worker(self) -> WorkerSettings:
        task = self.task
        settings: dict[str, Any] = {
            "model_path": str(task.model),
            "model_name": task.model.stem,
            "context_tokens": task.context_tokens,
            "request_tokens": task.slot_tokens,
            "slots": task.slots,
            "threads": task.threads,
            "batch_tokens": _BATCH_TOKENS,
            "ubatch_tokens": _BATCH_TOKENS,
            "flash_attention": True,
            "kv_type": "f16",
            "gpu_layers": task.gpu_layers,
            "spill_bytes": 0,
            "ready_timeout_s": _PATIENCE_S,
        }
        return WorkerSettings(**(settings | dict(self.changes)))


def our_environment(directory: Path) -> dict[str, str]:
    """Our service without a cloud: nothing leaves the machine, whatever happens."""
    nowhere = "http://127.0.0.1:9"
    return _environment() | {
        "FALLBACK_STORAGE__PATH": str(directory / "fallback.db"),
        "FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL": nowhere,
        "FALLBACK_UPSTREAMS__OPENAI__BASE_URL": nowhere,
        "FALLBACK_SIGNALS__STATUS_PAGES": "false",
    }


def _patient_environment(directory: Path) -> dict[str, str]:
    """Only the local tier, and no deadline or clamp: both sides are to read and write the same.
    Nothing is kept warm, for the machine is not idle: the other side has its turn."""
    config = directory / "fallback.toml"
    config.write_text('[[rules]]\nmatch.path = "*"\ntiers = ["local"]\n')
    return our_environment(directory) | {
        "FALLBACK_CONFIG": str(config),
        "FALLBACK_LOCAL__STANDBY": "loaded",
        "FALLBACK_LOCAL__MAX_OUTPUT_TOKENS": "4096",
        "FALLBACK_LOCAL__READY_TIMEOUT_S": str(_PATIENCE_S),
        "FALLBACK_DEADLINES__LOCAL_FIRST_CONTENT_S": str(_PATIENCE_S),
    }


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
