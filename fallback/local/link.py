"""One worker process and the conversation with it, from its spawn to its end.

Frames go over the worker's stdin and stdout. Its stderr, where native code complains, is read
all the time (a full pipe would stop the worker) and its last lines are kept for the reason.
A link is used once: when the worker is lost, the supervisor makes another.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

from fallback.core.conversation import Conversation
from fallback.core.errors import BadRequest, EngineError
from fallback.core.ports import GenerateRequest
from fallback.local import wire
from fallback.local.settings import WorkerSettings

_READ_BYTES = 1 << 16
_EXIT_S = 1.0
_STDERR_LINES = 12
_STDERR_LINE_CHARS = 400


class WorkerLost(Exception):
    """The worker is gone; the message says how it ended."""


class LoadFailed(Exception):
    """The worker could not load the model and said why."""

    def __init__(self, failure: wire.Failed) -> None:
        super().__init__(failure.message)
        self.kind = failure.kind


class WorkerLink:
    """A running worker. Made by `spawn`; must be closed."""

    def __init__(self, process: Process, on_pong: Callable[[wire.Pong], None]) -> None:
        self._process = process
        self._on_pong = on_pong
        self._ids = itertools.count(1)
        # Bounded by what the worker may say to one request: a piece for each token at most.
        self._calls: dict[int, asyncio.Queue[wire.Reply | WorkerLost]] = {}
        self._loaded: asyncio.Future[wire.Ready] = asyncio.get_running_loop().create_future()
        self._stderr: deque[str] = deque(maxlen=_STDERR_LINES)
        self._given_up: str | None = None
        self._ending = asyncio.create_task(self._live())

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        environment: Mapping[str, str],
        settings: WorkerSettings,
        on_pong: Callable[[wire.Pong], None],
    ) -> WorkerLink:
        """Start a worker and send it its settings. Raises `OSError` if it cannot be started."""
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            # A Ctrl-C at the terminal is for the parent, which ends the worker in its own time.
            start_new_session=True,
        )
        link = cls(process, on_pong)
        link._post(wire.Start(settings))
        return link

    def __repr__(self) -> str:
        return f"<WorkerLink pid={self.pid} calls={len(self._calls)}>"

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    async def loaded(self, timeout_s: float) -> wire.Ready:
        """Wait for the model. Raises `LoadFailed`, `WorkerLost`, `TimeoutError`."""
        return await asyncio.wait_for(asyncio.shield(self._loaded), timeout_s)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[wire.GenerateReply, None]:
        """The replies to one request; closing the iterator cancels it at once.

        Raises `WorkerLost`, and `BadRequest` for what cannot be sent.
        """
        id, replies = self._open_call()
        ended = False
        try:
            await self._send(wire.Generate(id, request))
            while not ended:
                reply = await self._next(replies)
                assert not isinstance(reply, wire.Counted | wire.Warmed)
                ended = isinstance(reply, wire.Finished | wire.Error)
                yield reply
        finally:
            del self._calls[id]
            if not ended:
                self._post(wire.Cancel(id))

    async def warm(
        self, dialect: str, body: bytes, *, max_tokens: int, prompt_budget_tokens: int | None
    ) -> wire.Warmed | wire.Error:
        """Have the beginning of this request ready; cancelling ends it at once. Raises as
        `generate` does."""
        id, replies = self._open_call()
        ended = False
        try:
            await self._send(
                wire.Warm(
                    id=id,
                    dialect=dialect,
                    body=body,
                    max_tokens=max_tokens,
                    prompt_budget_tokens=prompt_budget_tokens,
                )
            )
            reply = await self._next(replies)
            ended = True
        finally:
            del self._calls[id]
            if not ended:
                self._post(wire.Cancel(id))
        assert isinstance(reply, wire.Warmed | wire.Error)
        return reply

    def pace(self, cpu: float) -> None:
        """What share of the machine warming may take from now on."""
        self._post(wire.Pace(cpu))

    async def count(self, conversation: Conversation) -> int:
        """Tokens of the conversation. Raises as `generate` does, and `EngineError`."""
        id, replies = self._open_call()
        try:
            await self._send(wire.Count(id, conversation))
            reply = await self._next(replies)
        finally:
            del self._calls[id]
        if isinstance(reply, wire.Counted):
            return reply.tokens
        assert isinstance(reply, wire.Error)
        raise EngineError(reply.message)

    @property
    def alive(self) -> bool:
        """Whether the worker is still there to be asked."""
        return not self._ending.done()

    @property
    def busy(self) -> bool:
        """Whether anybody waits for a reply."""
        return bool(self._calls)

    def ping(self) -> None:
        """Ask for a pong."""
        self._post(wire.Ping())

    def give_up(self, why: str) -> None:
        """Kill the worker; `ended` will say why."""
        self._given_up = self._given_up or why
        self._kill()

    async def ended(self) -> WorkerLost:
        """Wait until the worker is gone and reaped; says how it went."""
        return await asyncio.shield(self._ending)

    async def close(self, timeout_s: float) -> None:
        """Let the worker go, kill it if it does not; afterwards there is no process left."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(asyncio.shield(self._ending), timeout_s)
        except TimeoutError:
            self._kill()
            await self._ending

    def _open_call(self) -> tuple[int, asyncio.Queue[wire.Reply | WorkerLost]]:
        if not self.alive:
            raise WorkerLost(*self._ending.result().args)
        id = next(self._ids)
        return id, self._calls.setdefault(id, asyncio.Queue())

    async def _send(self, message: wire.ToWorker) -> None:
        assert self._process.stdin is not None
        self._post(message)
        # A worker that dies meanwhile is told by `_next`.
        with contextlib.suppress(ConnectionError):
            await self._process.stdin.drain()

    def _post(self, message: wire.ToWorker) -> None:
        assert self._process.stdin is not None
        try:
            frame = wire.encode(message)
        except ValueError as error:
            raise BadRequest(f"the local model cannot be given this request: {error}") from error
        if not self._process.stdin.is_closing():
            self._process.stdin.write(frame)

    async def _next(self, replies: asyncio.Queue[wire.Reply | WorkerLost]) -> wire.Reply:
        reply = await replies.get()
        if isinstance(reply, WorkerLost):
            raise reply
        return reply

    async def _live(self) -> WorkerLost:
        """The worker's whole life: read until it ends, reap it, tell whoever waits."""
        try:
            async with asyncio.TaskGroup() as reading:
                reading.create_task(self._read_stderr())
                reading.create_task(self._read_frames())
        finally:
            self._kill()
        lost = WorkerLost(self._epitaph(await self._process.wait()))
        for replies in self._calls.values():
            # Each its own: an exception raised in several tasks collects all their tracebacks.
            replies.put_nowait(WorkerLost(*lost.args))
        if not self._loaded.done():
            self._settle(lost)
        return lost

    def _settle(self, outcome: wire.Ready | LoadFailed | WorkerLost) -> None:
        """What came of the load, once."""
        if self._loaded.done():
            raise wire.ProtocolError(f"a second word about the load: {outcome}")
        if isinstance(outcome, wire.Ready):
            self._loaded.set_result(outcome)
            return
        self._loaded.set_exception(outcome)
        self._loaded.exception()  # seen: a parent that stops meanwhile will not ask

    async def _read_frames(self) -> None:
        assert self._process.stdout is not None
        decoder = wire.parent_decoder()
        try:
            while data := await self._process.stdout.read(_READ_BYTES):
                for message in decoder.feed(data):
                    self._hear(message)
        except wire.ProtocolError as error:
            self.give_up(f"it does not speak the protocol: {error}")
        # A worker that closes its stdout is on its way out: let it have its own exit status.
        try:
            await asyncio.wait_for(self._process.wait(), _EXIT_S)
        except TimeoutError:
            self._kill()

    async def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        rest = b""
        while data := await self._process.stderr.read(_READ_BYTES):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_STDERR_LINE_CHARS:]
            for line in lines:
                self._keep_line(line)
        self._keep_line(rest)

    def _keep_line(self, line: bytes) -> None:
        if line.strip():
            self._stderr.append(line[-_STDERR_LINE_CHARS:].decode(errors="replace").strip())

    def _hear(self, message: wire.ToParent) -> None:
        if isinstance(message, wire.Pong):
            self._on_pong(message)
        elif isinstance(message, wire.Ready | wire.Failed):
            self._settle(message if isinstance(message, wire.Ready) else LoadFailed(message))
        elif message.id in self._calls:
            self._calls[message.id].put_nowait(message)

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def _epitaph(self, status: int) -> str:
        how = self._given_up or (
            f"it was ended by {signal.Signals(-status).name}"
            if status < 0
            else f"it exited with status {status}"
        )
        return f"{how}; its last words: {' / '.join(self._stderr)}" if self._stderr else how
