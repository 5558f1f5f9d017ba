"""What an answer says of itself: its text, id, model and tokens, read from the client's bytes.

For the record, not for passing on: one pass over a whole answer, be it JSON or a stream of events,
cheap enough for every answer of a cloud that is well (a hundred events in some 50 us). What is no
answer says nothing.

Sources: the streaming pages of the three APIs, as in the `*_read.py` files beside this one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import msgspec

from fallback.core.receipt import Said

_DATA = re.compile(rb"^data: ?(\{.*\})\r?$", re.MULTILINE)
_NOTHING = Said()


class _Usage(msgspec.Struct):
    input_tokens: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    completion_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    input_tokens_details: _Details | None = None
    prompt_tokens_details: _Details | None = None


class _Details(msgspec.Struct):
    cached_tokens: int | None = None


class _Block(msgspec.Struct):
    """A block of `content` of Messages and Responses; other types have no such text."""

    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Message(msgspec.Struct):
    """A message of Messages."""

    id: str | None = None
    model: str | None = None
    content: list[_Block] | None = None
    usage: _Usage | None = None


class _MessagesEvent(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Block | None = None
    usage: _Usage | None = None


class _Spoken(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Spoken | None = None
    message: _Spoken | None = None


class _Completion(msgspec.Struct):
    """A completion, and a chunk of one."""

    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: _Usage | None = None


class _Item(msgspec.Struct):
    type: str = ""
    content: list[_Block] | None = None


class _Response(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    output: list[_Item] | None = None
    usage: _Usage | None = None


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    delta: str | dict[str, Any] | None = None
    response: _Response | None = None


_Reader: TypeAlias = Callable[[bytes], Said]

_messages_event = msgspec.json.Decoder(list[_MessagesEvent])
_message = msgspec.json.Decoder(_Message)
_chunk = msgspec.json.Decoder(list[_Completion])
_completion = msgspec.json.Decoder(_Completion)
_responses_event = msgspec.json.Decoder(list[_ResponsesEvent])
_response = msgspec.json.Decoder(_Response)


def said(dialect: str, answer: bytes) -> Said:
    """What a whole answer in that dialect says, plain bytes as the client has them."""
    readers = _READERS.get(dialect)
    if readers is None:
        return _NOTHING
    try:
        if answer.startswith(b"{"):
            return readers[0](answer)
        return readers[1](b"[" + b",".join(_DATA.findall(answer)) + b"]")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _NOTHING


def _read_message(body: bytes) -> Said:
    message = _message.decode(body)
    if message.content is None:
        return _NOTHING
    return _said(_text(message.content), message.id, message.model, message.usage)


def _read_messages_stream(events: bytes) -> Said:
    parts: list[str] = []
    message, usage = _Message(), _Usage()
    for event in _messages_event.decode(events):
        if (delta := event.delta) is not None and delta.type == "text_delta":
            parts.append(delta.text or "")
        elif event.content_block is not None and event.content_block.type == "text":
            parts.append(event.content_block.text or "")
        elif event.message is not None:
            message = event.message
        for more in (event.usage, event.message.usage if event.message else None):
            usage = usage if more is None else _later(usage, more)
    return _said("".join(parts), message.id, message.model, usage)


def _later(before: _Usage, more: _Usage) -> _Usage:
    """Each count as it was told last: the end corrects the beginning."""
    told = {
        name: value for name in more.__struct_fields__ if (value := getattr(more, name)) is not None
    }
    return msgspec.structs.replace(before, **told)


def _read_completion(body: bytes) -> Said:
    completion = _completion.decode(body)
    first = [c.message for c in completion.choices or () if c.index == 0 and c.message]
    if not first:
        return _NOTHING
    text = first[0].content or first[0].refusal or ""
    return _said(text, completion.id, completion.model, completion.usage)


def _read_chunks(events: bytes) -> Said:
    parts: list[str] = []
    known = _Completion()
    for chunk in _chunk.decode(events):
        first = (each.delta for each in chunk.choices or () if each.index == 0 and each.delta)
        parts += [delta.content or delta.refusal or "" for delta in first]
        if known.id is None or chunk.usage is not None:
            known = chunk
    return _said("".join(parts), known.id, known.model, known.usage)


def _read_response(body: bytes) -> Said:
    response = _response.decode(body)
    if response.output is None:
        return _NOTHING
    text = "".join(_text(item.content or ()) for item in response.output)
    return _said(text, response.id, response.model, response.usage)


def _read_responses_stream(events: bytes) -> Said:
    parts: list[str] = []
    response = _Response()
    for event in _responses_event.decode(events):
        if event.type in ("response.output_text.delta", "response.refusal.delta"):
            parts.append(event.delta if isinstance(event.delta, str) else "")
        elif event.response is not None:
            response = event.response
    return _said("".join(parts), response.id, response.model, response.usage)


def _text(blocks: Any) -> str:
    return "".join(block.text or block.refusal or "" for block in blocks if _is_text(block))


def _is_text(block: _Block) -> bool:
    return block.type in ("text", "output_text", "refusal")


def _said(text: str, id: str | None, model: str | None, usage: _Usage | None) -> Said:
    usage = usage or _Usage()
    details = usage.input_tokens_details or usage.prompt_tokens_details
    return Said(
        text=text,
        id=id,
        model=model,
        input_tokens=_first(usage.input_tokens, usage.prompt_tokens),
        output_tokens=_first(usage.output_tokens, usage.completion_tokens),
        cached_tokens=details.cached_tokens if details else usage.cache_read_input_tokens,
    )


def _first(*counts: int | None) -> int | None:
    return next((count for count in counts if count is not None), None)


_READERS: Mapping[str, tuple[_Reader, _Reader]] = {
    "anthropic": (_read_message, _read_messages_stream),
    "openai-chat": (_read_completion, _read_chunks),
    "openai-responses": (_read_response, _read_responses_stream),
}
