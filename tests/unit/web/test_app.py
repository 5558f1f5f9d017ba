"""The ASGI application in front of the gateway."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fallback.web.app import WebApp
from fallback.web.exchange import AsgiExchange, Message


class Gateway:
    """Stands where the gateway stands; `handle` is what a test makes of it."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle


async def nothing() -> None:
    return None


def app(handle: Any, *, hosts: frozenset[str] | None = frozenset({"127.0.0.1", "[::1]"})) -> WebApp:
    def no_control() -> Any:
        raise AssertionError("not asked for")

    return WebApp(
        Gateway(handle),  # type: ignore[arg-type]
        no_control,
        proxy="fallback",
        hosts=hosts,
        line=lambda: (True, "fallback: cloud well, local ready"),
        startup=nothing,
        shutdown=nothing,
    )


async def call(
    application: WebApp,
    *messages: Message,
    headers: tuple[tuple[bytes, bytes], ...] = ((b"host", b"127.0.0.1:8484"),),
    path: str = "/v1/messages",
    method: str = "POST",
) -> list[Message]:
    """Play one request; what follows the given messages never comes."""
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
    }
    pending = list(messages or ({"type": "http.request", "body": b"", "more_body": False},))
    sent: list[Message] = []

    async def receive() -> Message:
        if pending:
            return pending.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("never")

    async def send(message: Message) -> None:
        sent.append(message)

    await application(scope, receive, send)
    return sent


async def echo(exchange: AsgiExchange) -> None:
    body = await exchange.body(1000)
    assert isinstance(body, bytes)
    await exchange.start(200, [])
    await exchange.finish(body)


@pytest.mark.parametrize("host", [b"127.0.0.1:8484", b"127.0.0.1", b"[::1]:8484"])
async def test_known_hosts_are_answered(host: bytes) -> None:
    """With and without a port."""
    assert (await call(app(echo), headers=((b"host", host),)))[0]["status"] == 200


@pytest.mark.parametrize("host", [b"evil.test", b"127.0.0.1.evil.test:8484", b""])
async def test_other_hosts_are_turned_away(host: bytes) -> None:
    """DNS rebinding ends here, and the message names the setting."""
    sent = await call(app(echo), headers=((b"host", host),))
    assert sent[0]["status"] == 421
    assert b"server.allowed_hosts" in sent[1]["body"]
    assert (b"llm-provenance", b"tier=none, reason=unknown-host") in sent[0]["headers"]
    assert (await call(app(echo, hosts=None), headers=((b"host", host),)))[0]["status"] == 200


@pytest.mark.parametrize("origin", [b"https://evil.test", b"null", b"http://evil.test:8484"])
async def test_pages_of_other_origins_are_turned_away(origin: bytes) -> None:
    """Any page may post to a loopback address, and would spend the operator's key."""
    headers = ((b"host", b"127.0.0.1:8484"), (b"origin", origin))
    sent = await call(app(echo), headers=headers)
    assert sent[0]["status"] == 403
    assert b"server.allowed_hosts" in sent[1]["body"]
    assert (b"llm-provenance", b"tier=none, reason=unknown-origin") in sent[0]["headers"]
    assert (await call(app(echo, hosts=None), headers=headers))[0]["status"] == 200


@pytest.mark.parametrize(
    "origin", [b"http://127.0.0.1:5173", b"http://[::1]:8484", b"vscode-webview://1a2b"]
)
async def test_pages_of_this_machine_are_answered(origin: bytes) -> None:
    """A page under development, and applications that happen to be made of web technology."""
    headers = ((b"host", b"127.0.0.1:8484"), (b"origin", origin))
    assert (await call(app(echo), headers=headers))[0]["status"] == 200


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_length(status: int) -> None:
    """A 304 may tell the length of the 200; uvicorn would hold its empty body to it."""

    async def handle(exchange: AsgiExchange) -> None:
        await exchange.start(status, [(b"etag", b"1"), (b"content-length", b"10")])
        await exchange.finish()

    assert (await call(app(handle)))[0]["headers"] == [(b"etag", b"1")]


async def test_a_websocket_upgrade_gets_426() -> None:
    """Codex then uses HTTP at once."""
    headers = ((b"host", b"127.0.0.1"), (b"upgrade", b"WebSocket"))
    assert (await call(app(echo), headers=headers, method="GET"))[0]["status"] == 426


async def test_the_body_is_put_together() -> None:
    """However many parts it comes in."""
    parts = [
        {"type": "http.request", "body": b"one ", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    assert (await call(app(echo), *parts))[1]["body"] == b"one two"


async def test_a_body_over_the_limit_becomes_a_stream() -> None:
    """Nothing of it is lost."""
    got: list[bytes] = []

    async def handle(exchange: AsgiExchange) -> None:
        body = await exchange.body(5)
        assert not isinstance(body, bytes)
        got.extend([chunk async for chunk in body])
        await exchange.start(200, [])
        await exchange.finish()

    parts = [
        {"type": "http.request", "body": b"x" * 4, "more_body": True},
        {"type": "http.request", "body": b"y" * 4, "more_body": True},
        {"type": "http.request", "body": b"z" * 4, "more_body": False},
    ]
    await call(app(handle), *parts)
    assert b"".join(got) == b"xxxxyyyyzzzz"


async def test_a_client_that_leaves_cancels_its_answer() -> None:
    """The handler is cancelled at once and the server's task is not."""
    ended = []

    async def handle(exchange: AsgiExchange) -> None:
        await exchange.body(100)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    request = {"type": "http.request", "body": b"", "more_body": False}
    sent = await call(app(handle), request, {"type": "http.disconnect"})
    assert (sent, ended) == ([], [True])
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_client_that_leaves_before_its_body_is_whole_is_forgotten() -> None:
    """Half a request is no request."""
    half = {"type": "http.request", "body": b"{", "more_body": True}
    assert await call(app(echo), half, {"type": "http.disconnect"}) == []


async def test_a_bug_is_a_500_and_not_the_end() -> None:
    """Before the headers the client gets an answer; the log gets the traceback."""

    async def handle(exchange: AsgiExchange) -> None:
        raise KeyError("a bug")

    assert (await call(app(handle)))[0]["status"] == 500


async def test_an_answer_that_is_not_finished_is_left_so() -> None:
    """The server then drops the connection: a cut answer never ends cleanly."""

    async def handle(exchange: AsgiExchange) -> None:
        await exchange.start(200, [])
        await exchange.send(b"half")

    sent = await call(app(handle))
    assert sent[-1]["more_body"] is True


async def test_the_root_says_where_one_is() -> None:
    """For the person who opens the base URL in a browser."""
    sent = await call(app(echo), path="/", method="GET")
    assert b"fallback is running" in sent[1]["body"]
