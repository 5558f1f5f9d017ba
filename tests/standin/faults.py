"""Ways to fail. A fault is an async function of an `Exchange`; a new one is one function here.

Faults on streams count `content` events: 0 means after the prologue, before any content.
Faults that wait hold until the client leaves or the test calls `StandIn.release()`; those with
`held` do so before they fail, so that a client can be seen to have what came before.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from standin import anthropic_cloud, openai_cloud
from standin.cloud import COMPRESSORS
from standin.exchange import Exchange
from standin.wire import event

Fault = Callable[[Exchange], Awaitable[None]]

_HTML = b"<!doctype html><html><body><h1>Welcome to Hotel Wifi</h1></body></html>"


def status(
    code: int, kind: str, message: str = "No.", *, retry_after_s: int | None = None
) -> Fault:
    """An error answer in the shape of the cloud that was asked; `kind` is its error type."""

    async def fault(exchange: Exchange) -> None:
        ours = exchange.request.path.startswith("/v1/messages")
        cloud = anthropic_cloud if ours else openai_cloud
        answer = cloud.error(exchange.request, code, kind, message)
        if retry_after_s is not None:
            answer = replace(answer, headers=(*answer.headers, ("retry-after", f"{retry_after_s}")))
        await exchange.respond(answer)

    return fault


def body(data: bytes, content_type: str, code: int = 200) -> Fault:
    """Any body with any type: a captive portal, a broken gateway."""

    async def fault(exchange: Exchange) -> None:
        answer = replace(exchange.answer, status=code, body=data, events=())
        await exchange.respond(replace(answer, headers=(("Content-Type", content_type),)))

    return fault


def html(code: int = 200) -> Fault:
    """A captive portal's page."""
    return body(_HTML, "text/html; charset=utf-8", code)


def not_json() -> Fault:
    """Success, says the status; the body is not what the content type says."""
    return body(b"upstream connect error or disconnect", "application/json")


async def reset_before_headers(exchange: Exchange) -> None:
    """A TCP reset instead of an answer."""
    exchange.reset()


async def close_before_headers(exchange: Exchange) -> None:
    """An orderly close instead of an answer."""
    exchange.close()


async def silence(exchange: Exchange) -> None:
    """Never a byte; once released, the connection is closed."""
    await exchange.hold()
    exchange.close()


async def slow_headers(exchange: Exchange) -> None:
    """The right answer, after the release."""
    await exchange.hold()
    await exchange.respond(exchange.answer)


def stall(content: int) -> Fault:
    """A stream that stops after `content` content events, and goes on after the release."""

    async def fault(exchange: Exchange) -> None:
        at = exchange.answer.prologue + content
        await _begin(exchange, at)
        await exchange.hold()
        await exchange.chunks(exchange.answer.events[at:])
        await exchange.end()

    return fault


def cut(content: int, *, held: bool = False) -> Fault:
    """A stream whose connection closes in order, its last chunk missing."""

    async def fault(exchange: Exchange) -> None:
        await _begin(exchange, exchange.answer.prologue + content, held=held)
        exchange.close()

    return fault


def reset(content: int, *, held: bool = False) -> Fault:
    """A stream whose connection is reset."""

    async def fault(exchange: Exchange) -> None:
        await _begin(exchange, exchange.answer.prologue + content, held=held)
        exchange.reset()

    return fault


def clean_end(content: int, *, held: bool = False) -> Fault:
    """A stream that ends as HTTP should, without the dialect's terminal event."""

    async def fault(exchange: Exchange) -> None:
        await _begin(exchange, exchange.answer.prologue + content, held=held)
        await exchange.end()

    return fault


async def without_last_event(exchange: Exchange) -> None:
    """A stream that ends as HTTP should, all there but the terminal event."""
    await _begin(exchange, len(exchange.answer.events) - 1)
    await exchange.end()


async def cut_before_last_event(exchange: Exchange) -> None:
    """A stream whose connection closes in order, all there but the terminal event."""
    await _begin(exchange, len(exchange.answer.events) - 1)
    exchange.close()


def half_event(content: int, *, held: bool = False) -> Fault:
    """A stream that ends cleanly in the middle of an event."""

    async def fault(exchange: Exchange) -> None:
        at = exchange.answer.prologue + content
        await _begin(exchange, at, held=held)
        await exchange.chunks((exchange.answer.events[at][:17],))
        await exchange.end()

    return fault


def error_event(content: int, *, held: bool = False) -> Fault:
    """The dialect's error event after `content` content events, then a clean end."""

    async def fault(exchange: Exchange) -> None:
        await _begin(exchange, exchange.answer.prologue + content, held=held)
        await exchange.chunks((exchange.answer.error_event,))
        await exchange.end()

    return fault


async def error_event_first(exchange: Exchange) -> None:
    """The error event as the very first event of a stream with status 200."""
    await exchange.head_of_stream(exchange.answer)
    await exchange.chunks((exchange.answer.error_event,))
    await exchange.end()


async def empty_stream(exchange: Exchange) -> None:
    """Status 200, the right headers, and no event at all."""
    await exchange.head_of_stream(exchange.answer)
    await exchange.end()


async def unknown_events(exchange: Exchange) -> None:
    """Not a fault: comments and an event of a later version, which a proxy passes on."""
    at = exchange.answer.prologue
    await _begin(exchange, at)
    future = event("x_future_event", {"type": "x_future_event", "index": 0})
    await exchange.chunks((b": comment\n\n", future, *exchange.answer.events[at:]))
    await exchange.end()


async def split_events(exchange: Exchange) -> None:
    """Not a fault: the stream's bytes in chunks that know nothing of events."""
    data = b"".join(exchange.answer.events)
    await exchange.head_of_stream(exchange.answer)
    await exchange.chunks(tuple(data[at : at + 5] for at in range(0, len(data), 5)))
    await exchange.end()


async def truncated_body(exchange: Exchange) -> None:
    """Half of what `Content-Length` promised, then an orderly close."""
    body = exchange.answer.body
    await exchange.head(200, (*exchange.answer.headers, ("Content-Length", str(len(body)))))
    await exchange.raw(body[: len(body) // 2])
    exchange.close()


async def half_json(exchange: Exchange) -> None:
    """Half a JSON body under a `Content-Length` that fits the half."""
    half = exchange.answer.body[: len(exchange.answer.body) // 2]
    await exchange.respond(replace(exchange.answer, body=half))


def compressed(coding: str, harm: Callable[[bytes], bytes] = bytes) -> Fault:
    """The answer, streams too, with this content coding, after `harm` has had its way with it."""

    async def fault(exchange: Exchange) -> None:
        answer = exchange.answer
        plain = b"".join(answer.events) or answer.body
        headers = (*answer.headers, ("Content-Encoding", coding))
        data = harm(COMPRESSORS[coding](plain))
        await exchange.respond(replace(answer, headers=headers, body=data, events=()))

    return fault


def flipped(data: bytes) -> bytes:
    """Harm: the bytes from the first quarter on are garbage."""
    at = len(data) // 4
    return data[:at] + bytes(byte ^ 0xFF for byte in data[at:])


def halved(data: bytes) -> bytes:
    """Harm: the second half is missing."""
    return data[: len(data) // 2]


async def _begin(exchange: Exchange, events: int, *, held: bool = False) -> None:
    await exchange.head_of_stream(exchange.answer)
    await exchange.chunks(exchange.answer.events[:events])
    if held:
        await exchange.hold()
