"""A transport from a script, for tests: it ships with the package and is injected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import msgspec

from fallback.core.outcome import Failure
from fallback.core.provenance import Headers
from fallback.upstream.transport import TransportError, TransportResponse, UpstreamConfig


class Fault(msgspec.Struct, frozen=True):
    """Raises `TransportError` at this point of the script."""

    failure: Failure
    sent: bool = True


class Wait(msgspec.Struct, frozen=True):
    """Seconds of the loop's time before what follows; infinite is silence."""

    seconds: float


Beat: TypeAlias = bytes | Fault | Wait


class Script(msgspec.Struct, frozen=True, kw_only=True):
    """What one request gets: beats before the head, the head, beats of the body."""

    before: tuple[Beat, ...] = ()
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)
    body: tuple[Beat, ...] = ()


class SeenRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it reached the transport."""

    upstream: str
    method: str
    target: str
    headers: Headers
    body: bytes


Answerer: TypeAlias = Callable[[SeenRequest], Script]


class ScriptedTransport:
    """Satisfies `Transport`. `open_responses` counts what has not been closed."""

    def __init__(self, answer: Answerer | Sequence[Script]) -> None:
        if callable(answer):
            self._answer = answer
        else:
            scripts = iter(answer)
            self._answer = lambda request: next(scripts)
        self.seen: list[SeenRequest] = []
        self.open_responses = 0

    async def send(
        self,
        upstream: UpstreamConfig,
        method: str,
        target: str,
        headers: Headers,
        body: bytes | AsyncIterable[bytes],
        *,
        limit_s: float,
        connect_s: float | None = None,
    ) -> TransportResponse:
        whole = body if isinstance(body, bytes) else b"".join([chunk async for chunk in body])
        request = SeenRequest(
            upstream=upstream.name, method=method, target=target, headers=headers, body=whole
        )
        self.seen.append(request)
        script = self._answer(request)
        with _limited():
            async with asyncio.timeout(limit_s):
                for beat in script.before:
                    await _play(beat)
        self.open_responses += 1
        return _ScriptedResponse(script, self._closed)

    async def aclose(self) -> None:
        return None

    def _closed(self) -> None:
        self.open_responses -= 1


class _ScriptedResponse:
    def __init__(self, script: Script, closed: Callable[[], None]) -> None:
        self.status = script.status
        self.headers: Headers = [(name.lower(), value) for name, value in script.headers]
        self._body = iter(script.body)
        self._closed: Callable[[], None] | None = closed

    async def read(self, limit_s: float) -> bytes:
        with _limited():
            async with asyncio.timeout(limit_s):
                for beat in self._body:
                    if chunk := await _play(beat):
                        return chunk
        return b""

    def close(self) -> None:
        if self._closed is not None:
            self._closed()
            self._closed = None


@contextmanager
def _limited() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise TransportError(Failure.TIMEOUT, "scripted silence", sent=True) from error


async def _play(beat: Beat) -> bytes:
    if isinstance(beat, Fault):
        raise TransportError(beat.failure, f"scripted {beat.failure.value}", sent=beat.sent)
    if isinstance(beat, Wait):
        await asyncio.sleep(beat.seconds)
        return b""
    return beat
