"""The official SDKs, reading what a dialect wrote.

The real clients, strict (each event and body is validated against their own types), over a
transport in memory: everything of theirs runs but the socket.
"""

from __future__ import annotations

from typing import Any

import anthropic
import httpx2
import openai

from fallback.core.answer import AnswerEvent
from fallback.dialects import DIALECTS
from fallback.dialects.base import AnswerContext


class Canned(httpx2.BaseTransport):
    """Answers every request with `body`."""

    def __init__(self) -> None:
        self.body = b""
        self.content_type = "text/event-stream"
        self.status = 200

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": self.content_type}
        return httpx2.Response(self.status, headers=headers, content=self.body, request=request)


CANNED = Canned()
_OPTIONS: dict[str, Any] = {
    "api_key": "test",
    "max_retries": 0,
    "_strict_response_validation": True,
}
ANTHROPIC = anthropic.Anthropic(
    base_url="http://test", http_client=httpx2.Client(transport=CANNED), **_OPTIONS
)
OPENAI = openai.OpenAI(
    base_url="http://test/v1", http_client=httpx2.Client(transport=CANNED), **_OPTIONS
)
USER: Any = [{"role": "user", "content": "hi"}]


def context(request: dict[str, Any] | None = None) -> AnswerContext:
    """An answer's surroundings; `request` is the client's body."""
    return AnswerContext(
        token="t0k3n",
        served_model="smollm2",
        created_s=1_700_000_000,
        request=request or {},
        provenance={"tier": "local", "reason": "outage"},
    )


def stream_bytes(
    name: str, events: list[AnswerEvent], request: dict[str, Any] | None = None
) -> bytes:
    """The whole stream, with a keep-alive wherever one is allowed but at the very end."""
    encoder = DIALECTS[name].stream_encoder(context(request))
    *before, last = events
    waited = b"".join(encoder.encode(event) + encoder.keepalive() for event in before)
    return waited + encoder.encode(last)


def serve(body: bytes, *, content_type: str = "text/event-stream", status: int = 200) -> None:
    """Let the next request of either client get this."""
    CANNED.body, CANNED.content_type, CANNED.status = body, content_type, status


def serve_json(body: bytes, *, status: int = 200) -> None:
    """Let the next request of either client get this JSON."""
    serve(body, content_type="application/json", status=status)
