"""The worker's story: hear the settings, verify and load the model, say so, then serve.

Three threads (see `desk.py`). The reader starts before the load, so that a parent that goes
away in the middle of it takes this process along.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fallback.core.errors import EngineError
from fallback.local import wire
from fallback.local.settings import WorkerSettings
from fallback.local.worker.channel import Channel
from fallback.local.worker.desk import Desk, Leave
from fallback.local.worker.modelfile import ModelFileError, verify

if TYPE_CHECKING:
    from fallback.local.worker.loading import Loaded

_BAD_PROTOCOL = 76
# Requests between the reader and the scheduler; the scheduler's own queue comes after them.
_INTAKE_LIMIT = 64
_LEAVE_S = 1.5


def main() -> int:
    """Serve one parent until it goes away; the exit status where it does not come to that."""
    began = time.monotonic()
    channel = Channel.take_stdio()
    messages = channel.messages()
    first = next(messages, None)
    if not isinstance(first, wire.Start):
        print("the worker is started by `fallback serve`, not by hand", file=sys.stderr)  # noqa: T201
        return _BAD_PROTOCOL
    settings = first.settings
    desk = Desk(settings.slots + settings.queue_limit + _INTAKE_LIMIT)
    _start_thread("reader", _read, messages, desk, channel)
    try:
        loaded = _load(settings)
        _serve(settings, desk, channel, loaded, began)
    except ModelFileError as error:
        channel.send(wire.Failed(kind="model_file", message=str(error)))
    except EngineError as error:
        channel.send(wire.Failed(kind="engine", message=str(error)))
    return 1


def _load(settings: WorkerSettings) -> Loaded:
    path = Path(settings.model_path)
    cache_dir = Path(settings.cache_dir) if settings.cache_dir else None
    sha256 = verify(path, settings.model_sha256, cache_dir)
    # Only a verified file is worth the 0.3 s of these imports, and a bad one is told at once.
    from fallback.local.worker.loading import load

    return load(settings, sha256)


def _serve(
    settings: WorkerSettings,
    desk: Desk,
    channel: Channel,
    loaded: Loaded,
    began: float,
) -> None:
    from fallback.local.worker.assembly import assemble

    engine = assemble(settings, loaded, desk, channel)
    _start_thread("intake", engine.intake.run, desk, channel)
    channel.send(
        wire.Ready(
            model=engine.identity,
            load_s=time.monotonic() - began,
            tuning=loaded.tuning.describe(),
            calibrate=loaded.calibrate,
            tool_format=engine.intake.tool_format,
        )
    )
    _start_thread("grammars", loaded.model.prepare_grammars)
    engine.decoder.run()


def _read(messages: Iterator[wire.ToWorker], desk: Desk, channel: Channel) -> None:
    """The reader thread: ends the process when the parent has no more to say."""
    try:
        for message in messages:
            _hear(message, desk, channel)
    except wire.ProtocolError:
        traceback.print_exc()
        os._exit(_BAD_PROTOCOL)
    # What was computed may be saved for the next worker; whoever waits for this one's end does
    # not wait long.
    if desk.serving:
        left = threading.Event()
        desk.arrivals.put(Leave(time.monotonic() + _LEAVE_S, left))
        left.wait(_LEAVE_S)
    os._exit(0)


def _hear(message: wire.ToWorker, desk: Desk, channel: Channel) -> None:
    if isinstance(message, wire.Ping):
        channel.send(desk.pong())
    elif isinstance(message, wire.Cancel):
        desk.cancel(message)
    elif isinstance(message, wire.Pace):
        desk.arrivals.put(message)
    elif isinstance(message, wire.Start):
        raise wire.ProtocolError("a second Start")
    elif not desk.take(message):
        busy = "too many requests wait for the local model; try again soon"
        channel.send(wire.Error(id=message.id, kind="busy", message=busy))


def _start_thread(name: str, target: Callable[..., object], *arguments: object) -> None:
    threading.Thread(target=target, args=arguments, name=name, daemon=True).start()
