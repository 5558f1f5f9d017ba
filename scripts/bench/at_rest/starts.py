"""Start a program, wait for what it says, know how long that took."""

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from healthy_path.peers import ROOT
from healthy_path.processes import Launch, Process, running

LISTENING, READY = "listening on", "local is ready"

_LOADED = "loaded"
_SAYS_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.002
_FLOOR_LIVES_S = 600


class DidNotSay(Exception):
    """The program ended, or let the time pass; says what it wrote instead."""


@dataclass(frozen=True, slots=True)
class Started:
    """A program on its way."""

    process: Process
    began_at: float

    @property
    def pid(self) -> int:
        return self.process.child.pid

    def age_s(self) -> float:
        """Seconds since the process was started."""
        return perf_counter() - self.began_at

    async def says(self, text: str) -> float:
        """The process's age when it writes this, give or take 2 ms. Raises `DidNotSay`."""
        while text not in self._log():
            if self.process.has_ended() or self.age_s() > _SAYS_WITHIN_S:
                raise DidNotSay(f"{text!r}: {self.process.log_tail()}")
            await asyncio.sleep(_LOOK_EVERY_S)
        return self.age_s()

    async def loads(self) -> float:
        """The age of a floor when it has loaded what it is to load."""
        return await self.says(_LOADED)

    def _log(self) -> str:
        return self.process.log.read_text(errors="replace")


@contextmanager
def service(
    *, port: int, upstream: str, refusing: str, models: Path, cache: Path
) -> Iterator[Started]:
    """`fallback serve`: `openai` is the upstream that answers, `anthropic` one that refuses.

    What has been verified is remembered in `cache`.
    """
    settings = {
        "FALLBACK_UPSTREAMS__OPENAI__BASE_URL": upstream,
        "FALLBACK_UPSTREAMS__ANTHROPIC__BASE_URL": refusing,
        "FALLBACK_LOCAL__MODELS_DIR": str(models),
        "FALLBACK_STORAGE__PATH": str(cache / "fallback.db"),
        "XDG_CACHE_HOME": str(cache),
    }
    program = ROOT / ".venv" / "bin" / "fallback"
    with _started((str(program), "serve", "--port", str(port)), cache / "log", settings) as started:
        yield started


@contextmanager
def bare_proxy(directory: Path) -> Iterator[Started]:
    """The least a proxy on these libraries can be: uvicorn with an application that does nothing,
    the client library imported."""
    with _floor(_EMPTY_SERVER, directory / "proxy.log") as started:
        yield started


@contextmanager
def bare_model(model: Path, directory: Path) -> Iterator[Started]:
    """The least a worker on llama-cpp-python can be: an unverified model with the same context."""
    with _floor(_LOADED_MODEL.format(path=str(model)), directory / "model.log") as started:
        yield started


_EMPTY_SERVER = f"""
import aiohttp, uvicorn

async def application(scope, receive, send):
    while (await receive())["type"] != "lifespan.shutdown":
        print({_LOADED!r}, flush=True)
        await send({{"type": "lifespan.startup.complete"}})
    await send({{"type": "lifespan.shutdown.complete"}})

uvicorn.run(application, port=0, log_level="error")
"""
_LOADED_MODEL = f"""
import time
from llama_cpp import Llama

llama = Llama({{path!r}}, n_ctx=8192, verbose=False)
print({_LOADED!r}, flush=True)
time.sleep({_FLOOR_LIVES_S})
"""


@contextmanager
def _floor(program: str, log: Path) -> Iterator[Started]:
    with _started((sys.executable, "-c", program), log, {}) as started:
        yield started


@contextmanager
def _started(command: tuple[str, ...], log: Path, settings: Mapping[str, str]) -> Iterator[Started]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    launch = Launch(command=command, environment={**kept, **settings})
    began_at = perf_counter()
    with running(launch, cores=os.sched_getaffinity(0), log=log) as process:
        yield Started(process, began_at)
