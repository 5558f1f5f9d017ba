"""The requests a client sends and the answers the mock upstream gives, prebuilt as bytes.

Every answer says `tick` a known number of times, so that a client can tell a whole answer from a
cut one whatever a proxy does to its JSON. The model's name says which answer is wanted, because a
name survives every proxy.
"""

import json
from dataclasses import dataclass
from typing import Any

WHOLE, BURST, PACED = "bench-whole", "bench-burst", "bench-paced"
MARK = b" tick"
WHOLE_MARKS = 380  # makes an answer of about 2 KB
BURST_EVENTS = 100
BURST_MARKS = BURST_EVENTS - 5  # all events but the two that open and the three that close
PACED_EVENTS_PER_S = 50.0
PACED_MARKS = 1500  # 30 s, a bound: whoever measures leaves earlier

MESSAGES, CHAT = "/v1/messages", "/v1/chat/completions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One kind of request, and what a good answer to it says."""

    name: str
    title: str
    path: str
    body: bytes
    marks: int


# --- requests ------------------------------------------------------------------------------------

_CLIENT_HEADERS = (
    "accept: application/json",
    "accept-encoding: identity",
    "content-type: application/json",
    "user-agent: Anthropic/Python 2.11.0",
    "x-stainless-lang: python",
    "x-stainless-package-version: 2.11.0",
    "x-stainless-os: Linux",
    "x-stainless-arch: x64",
    "x-stainless-runtime: CPython",
    "x-stainless-runtime-version: 3.11.7",
    "x-stainless-retry-count: 0",
    "x-stainless-read-timeout: 600",
    "anthropic-version: 2023-06-01",
    "x-api-key: sk-made-up",
    "authorization: Bearer sk-made-up",
)


def wire_request(case: Case, port: int, extra_headers: tuple[str, ...] = ()) -> bytes:
    """The whole HTTP/1.1 request, as one official SDK would send it to 127.0.0.1:`port`."""
    lines = (
        f"POST {case.path} HTTP/1.1",
        f"host: 127.0.0.1:{port}",
        *_CLIENT_HEADERS,
        *extra_headers,
        f"content-length: {len(case.body)}",
    )
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + case.body


def _body(vendor: str, kind: str, **more: Any) -> bytes:
    request = {
        "model": f"{vendor}-{kind}",
        "max_tokens": 1024,
        "stream": kind != WHOLE,
        "messages": [{"role": "user", "content": "Why is the sky blue? " * 90}],
    }
    return json.dumps(request | more).encode()


def _agent_session() -> dict[str, Any]:
    """Tools and turns of a coding agent: about 120 KB of JSON, many small objects."""
    tools = [
        {
            "name": f"tool_{index}",
            "description": "Reads a part of a file and says what stands in it. " * 30,
            "input_schema": {
                "type": "object",
                "properties": {
                    f"field_{field}": {"type": "string", "description": "What to look at. " * 4}
                    for field in range(12)
                },
                "required": ["field_0"],
            },
        }
        for index in range(24)
    ]
    turns = [
        {"role": role, "content": [{"type": "text", "text": "And then the next file. " * 60}]}
        for _ in range(19)
        for role in ("user", "assistant")
    ]
    return {"tools": tools, "messages": [*turns, {"role": "user", "content": "Go on."}]}


MESSAGES_2KB = Case(
    name="messages-2kb",
    title="2 KB",
    path=MESSAGES,
    body=_body("claude", WHOLE),
    marks=WHOLE_MARKS,
)
MESSAGES_120KB = Case(
    name="messages-120kb",
    title="120 KB body",
    path=MESSAGES,
    body=_body("claude", WHOLE, **_agent_session()),
    marks=WHOLE_MARKS,
)
MESSAGES_STREAM = Case(
    name="messages-stream",
    title="100-event stream",
    path=MESSAGES,
    body=_body("claude", BURST),
    marks=BURST_MARKS,
)
MESSAGES_PACED = Case(
    name="messages-paced",
    title="one paced event",
    path=MESSAGES,
    body=_body("claude", PACED),
    marks=PACED_MARKS,
)
CHAT_PACED = Case(
    name="chat-paced",
    title="chat, one paced event",
    path=CHAT,
    body=_body("gpt", PACED),
    marks=PACED_MARKS,
)
CHAT_2KB = Case(
    name="chat-2kb",
    title="chat, 2 KB",
    path=CHAT,
    body=_body("gpt", WHOLE),
    marks=WHOLE_MARKS,
)
CHAT_STREAM = Case(
    name="chat-stream",
    title="chat, 100-event stream",
    path=CHAT,
    body=_body("gpt", BURST),
    marks=BURST_MARKS,
)


# --- answers -------------------------------------------------------------------------------------

_SERVER_HEADERS = (
    "date: Sat, 21 Nov 2026 03:00:00 GMT",
    "server: mock",
    "request-id: req_made_up",
    "anthropic-organization-id: 00000000-0000-0000-0000-000000000000",
    "anthropic-ratelimit-requests-limit: 4000",
    "anthropic-ratelimit-requests-remaining: 3999",
    "anthropic-ratelimit-requests-reset: 2026-11-21T03:00:00Z",
    "anthropic-ratelimit-input-tokens-limit: 400000",
    "anthropic-ratelimit-input-tokens-remaining: 399000",
    "strict-transport-security: max-age=31536000; includeSubDomains; preload",
    "x-robots-tag: none",
    "cf-cache-status: DYNAMIC",
)


def _head(*headers: str) -> bytes:
    lines = ("HTTP/1.1 200 OK", *_SERVER_HEADERS, *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def _whole(answer: dict[str, Any]) -> bytes:
    body = json.dumps(answer).encode()
    return _head("content-type: application/json", f"content-length: {len(body)}") + body


def _chunk(event: str) -> bytes:
    return b"%x\r\n%s\r\n" % (len(event.encode()), event.encode())


def _messages_event(name: str, **fields: Any) -> bytes:
    return _chunk(f"event: {name}\ndata: {json.dumps({'type': name} | fields)}\n\n")


def _chat_event(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chunk(f"data: {json.dumps(_CHAT_FRAME | {'choices': [choice]} | fields)}\n\n")


_CHAT_FRAME = {
    "id": "chatcmpl-made-up",
    "object": "chat.completion.chunk",
    "created": 1795230000,
    "model": "gpt-bench",
    "system_fingerprint": "fp_made_up",
}
_TICK = MARK.decode()

ANSWER_HEAD_SSE = _head(
    "content-type: text/event-stream; charset=utf-8",
    "cache-control: no-cache",
    "transfer-encoding: chunked",
)
LAST_CHUNK = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Everything the mock upstream says on one path; each event is a chunk of its own."""

    whole: bytes
    opening: tuple[bytes, ...]
    tick: bytes
    closing: tuple[bytes, ...]

    def burst(self) -> tuple[bytes, ...]:
        """`BURST_EVENTS` events, and the end of the body."""
        return (*self.opening, *([self.tick] * BURST_MARKS), *self.closing, LAST_CHUNK)


_MESSAGE: dict[str, Any] = {
    "id": "msg_made_up",
    "type": "message",
    "role": "assistant",
    "model": "claude-bench",
    "content": [],
    "stop_reason": None,
    "stop_sequence": None,
    "usage": {"input_tokens": 400, "output_tokens": 1},
}
_USAGE = {"prompt_tokens": 400, "completion_tokens": 380, "total_tokens": 780}

MESSAGES_ANSWERS = Answers(
    whole=_whole(
        _MESSAGE
        | {
            "content": [{"type": "text", "text": _TICK * WHOLE_MARKS}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 400, "output_tokens": 380},
        }
    ),
    opening=(
        _messages_event("message_start", message=_MESSAGE),
        _messages_event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    ),
    tick=_messages_event(
        "content_block_delta", index=0, delta={"type": "text_delta", "text": _TICK}
    ),
    closing=(
        _messages_event("content_block_stop", index=0),
        _messages_event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 95},
        ),
        _messages_event("message_stop"),
    ),
)
CHAT_ANSWERS = Answers(
    whole=_whole(
        _CHAT_FRAME
        | {
            "object": "chat.completion",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _TICK * WHOLE_MARKS},
                    "finish_reason": "stop",
                }
            ],
            "usage": _USAGE,
        }
    ),
    opening=(
        _chat_event({"role": "assistant", "content": ""}),
        _chat_event({"content": ""}),
    ),
    tick=_chat_event({"content": _TICK}),
    closing=(
        _chat_event({}, finish="stop"),
        _chat_event({}, usage=_USAGE),
        _chunk("data: [DONE]\n\n"),
    ),
)
ANSWERS = {MESSAGES.encode(): MESSAGES_ANSWERS, CHAT.encode(): CHAT_ANSWERS}
