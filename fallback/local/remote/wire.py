"""JSON and events, to and from one server, over the transport that the composition root hands in.

Whatever goes wrong becomes an error of the engine's, with what the operator can do about it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable
from contextlib import closing
from typing import Any, Protocol

from fallback.core.errors import EngineBusy, EngineError, EngineNotReady
from fallback.core.provenance import Headers
from fallback.dialects.jsonvalues import dump, parse
from fallback.dialects.sse import split_events
from fallback.dialects.upstream import error_facts

_MAX_BODY_BYTES = 8 * 1024 * 1024
_MAX_EVENT_BYTES = 8 * 1024 * 1024
_BUSY_RETRY_S = 5


class Response(Protocol):
    """The answer's head, and its body as it comes."""

    status: int
    headers: Headers

    async def read(self, limit_s: float) -> bytes:
        """The next bytes; empty at the proper end."""
        ...

    def close(self) -> None: ...


class Send(Protocol):
    """One exchange with the server; `target` is the raw path."""

    def __call__(
        self, method: str, target: str, headers: Headers, body: bytes, *, limit_s: float
    ) -> Awaitable[Response]: ...


class Lost(EngineError):
    """The server is gone in the middle of an answer."""


class TooLong(EngineError):
    """The server refused a prompt for its length."""


class Refused(EngineError):
    """The server refused the request as such."""


class Wire:
    """Exchanges with one server. `failures` is what `send` and `read` raise."""

    def __init__(self, send: Send, *, failures: type[Exception], api_key: str | None) -> None:
        self._send = send
        self._failures = failures
        self._headers: Headers = [
            (b"content-type", b"application/json"),
            (b"accept-encoding", b"identity"),
        ]
        if api_key:
            self._headers.append((b"authorization", b"Bearer " + api_key.encode("latin-1")))

    async def get(self, path: str, *, limit_s: float) -> Any:
        """The JSON at `path`. Raises `EngineError`."""
        return await self._json(await self._open("GET", path, b"", limit_s), limit_s)

    async def post(self, path: str, body: Any, *, limit_s: float) -> Any:
        """The JSON that answers. Raises `EngineError`."""
        return await self._json(await self._open("POST", path, dump(body), limit_s), limit_s)

    async def stream(self, path: str, body: bytes, *, limit_s: float) -> Response:
        """A stream of events that has begun. Raises `EngineError`."""
        response = await self._open("POST", path, body, limit_s)
        found = dict(response.headers).get(b"content-type", b"")
        if not found.lower().startswith(b"text/event-stream"):
            response.close()
            raise EngineError(f"The model server did not stream its answer, but sent {found!r}.")
        return response

    async def events(
        self, response: Response, *, first_s: float, stall_s: float
    ) -> AsyncGenerator[bytes, None]:
        """The raw events of a stream, up to its end; `first_s` may pass before there is any,
        `stall_s` in between. Raises `EngineError`."""
        rest, limit_s = b"", first_s
        with closing(response):
            while chunk := await self._read(response, limit_s):
                limit_s = stall_s
                events, rest = split_events(rest + chunk)
                if len(rest) > _MAX_EVENT_BYTES:
                    raise EngineError("The model server sent an event without an end.")
                for event in events:
                    yield event

    async def _open(self, method: str, path: str, body: bytes, limit_s: float) -> Response:
        try:
            response = await self._send(method, path, self._headers, body, limit_s=limit_s)
        except self._failures as error:
            raise EngineNotReady(
                f"The model server cannot be reached: {error}. Is it running, and is "
                f"local.remote.url right?"
            ) from error
        if response.status >= 400:
            raise await self._refusal(response, limit_s)
        return response

    async def _json(self, response: Response, limit_s: float) -> Any:
        try:
            return parse(await self._whole(response, limit_s))
        except ValueError as error:
            raise EngineError(f"The model server's answer is no JSON: {error}.") from error

    async def _whole(self, response: Response, limit_s: float) -> bytes:
        body = b""
        with closing(response):
            while chunk := await self._read(response, limit_s):
                body += chunk
                if len(body) > _MAX_BODY_BYTES:
                    raise EngineError("The model server's answer is too large.")
        return body

    async def _read(self, response: Response, limit_s: float) -> bytes:
        try:
            return await response.read(limit_s)
        except self._failures as error:
            raise Lost(f"The model server's answer broke off: {error}.") from error

    async def _refusal(self, response: Response, limit_s: float) -> EngineError:
        body = await self._whole(response, limit_s)
        facts, status = error_facts(body), response.status
        said = f"The model server answered {status}: {facts.message or 'no reason given'}"
        if status in (401, 403):
            return EngineError(f"{said}. Set local.remote.api_key or api_key_env.")
        if status in (429, 503):
            return EngineBusy(said, retry_after_s=_BUSY_RETRY_S)
        if status == 400 and _is_length(facts.type, facts.kind, facts.message):
            return TooLong(said)
        return Refused(said) if status in (400, 422) else EngineError(said)


def _is_length(*words: str | None) -> bool:
    """llama-server has a type for it (`exceed_context_size_error`), vLLM a code or a sentence."""
    said = " ".join(filter(None, words)).lower()
    return "context size" in said or "context length" in said or "context_" in said
