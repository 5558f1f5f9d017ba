"""Faults of event streams. What came before the fault has reached the client: events come a
beat apart, as a model writes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

from standin import faults
from standin.exchange import Exchange
from standin.faults import Fault as Play
from standin.wire import event

from support.fault import Ask, Fault, always

_BEAT_S = 0.02
_PING_S = 0.2
_CONTENT = 3

_SHARDS = Ask(text="[[say Grüße aus Köln: 😀 naïve façade, Ελλάδα 漢字]]")


def after_content(ending: Callable[[Exchange], Awaitable[None]]) -> Play:
    """The stream up to its third content event, then `ending`."""

    async def play(exchange: Exchange) -> None:
        await exchange.head_of_stream(exchange.answer)
        await _paced(exchange, exchange.answer.events[: exchange.answer.prologue + _CONTENT])
        await ending(exchange)

    return play


async def _paced(exchange: Exchange, events: tuple[bytes, ...]) -> None:
    for data in events:
        await exchange.chunks((data,))
        await asyncio.sleep(_BEAT_S)


async def end_cleanly(exchange: Exchange) -> None:
    """The end of HTTP's framing, without the dialect's."""
    await exchange.end()


async def cut(exchange: Exchange) -> None:
    """An orderly close of the connection, the last chunk missing."""
    exchange.close()


async def reset(exchange: Exchange) -> None:
    """A TCP reset."""
    exchange.reset()


async def stall(exchange: Exchange) -> None:
    """Nothing more, for ever."""
    await exchange.hold()


async def stall_with_pings(exchange: Exchange) -> None:
    """Signs of life for ever, and no content."""
    while True:
        await exchange.chunks((_ping(exchange),))
        await asyncio.sleep(_PING_S)


def _ping(exchange: Exchange) -> bytes:
    if exchange.request.path == "/v1/messages":
        return event("ping", {"type": "ping"})
    return b": keep-alive\n\n"


async def error_event(exchange: Exchange) -> None:
    """The dialect's error event, then a clean end."""
    await exchange.chunks((exchange.answer.error_event,))
    await exchange.end()


async def malformed_event(exchange: Exchange) -> None:
    """An event that is cut off inside its JSON, then the rest as if nothing had happened."""
    at = exchange.answer.prologue + _CONTENT
    broken, rest = exchange.answer.events[at], exchange.answer.events[at + 1 :]
    await exchange.chunks((broken[: len(broken) * 2 // 3].rstrip() + b"\n\n",))
    await _paced(exchange, rest)
    await exchange.end()


async def half_event(exchange: Exchange) -> None:
    """Half an event, then a clean end."""
    await exchange.chunks((exchange.answer.events[exchange.answer.prologue + _CONTENT][:17],))
    await exchange.end()


async def shards(exchange: Exchange) -> None:
    """Not a fault: lines that end in CRLF, and chunks that end inside characters and line ends."""
    data = b"".join(exchange.answer.events).replace(b"\n", b"\r\n")
    await exchange.head_of_stream(exchange.answer)
    await exchange.chunks(tuple(data[at : at + 3] for at in range(0, len(data), 3)))
    await exchange.end()


async def later_version(exchange: Exchange) -> None:
    """Not a fault: comments, fields and events that nobody knows yet.

    The chat dialect has no event names, so that an unknown one would break its own SDK.
    """
    at = exchange.answer.prologue + 1
    events = [_with_field(data) for data in exchange.answer.events]
    unknown = () if "chat" in exchange.request.path else (_unknown(exchange, at),)
    await exchange.head_of_stream(exchange.answer)
    await exchange.chunks((*events[:at], b": comment\n\n", *unknown, *events[at:]))
    await exchange.end()


def _unknown(exchange: Exchange, number: int) -> bytes:
    data = {"type": "x_future_event", "sequence_number": number, "index": 0}
    return event("x_future_event", data)


def _with_field(data: bytes) -> bytes:
    head, _, text = data.partition(b"data: ")
    if not text.startswith(b"{"):
        return data
    return head + b"data: " + json.dumps({**json.loads(text), "x_new": [1]}).encode() + b"\n\n"


def _stream(name: str, play: Play, *asks: Ask) -> Fault:
    return Fault(name=name, script=always(play), wholes=False, asks=asks or (Ask(),))


STREAMS = (
    _stream("empty-stream", faults.empty_stream),
    _stream("error-event-first", faults.error_event_first),
    _stream("error-before-content", faults.error_event(0)),
    _stream("cut-before-content", faults.cut(0)),
    _stream("stall-before-content", faults.stall(0)),
    _stream("clean-end-no-terminal", after_content(end_cleanly)),
    _stream("only-terminal-missing", faults.without_last_event),
    _stream("cut-mid-stream", after_content(cut)),
    _stream("reset-mid-stream", after_content(reset)),
    _stream("stall-mid-stream", after_content(stall)),
    _stream("stall-with-pings", after_content(stall_with_pings)),
    _stream("error-after-content", after_content(error_event)),
    _stream("half-event-mid-stream", after_content(half_event)),
    _stream("malformed-mid-stream", after_content(malformed_event)),
    _stream("split-utf8-crlf", shards, _SHARDS),
    _stream("unknown-events", later_version),
)
