"""The same small request in each of the three dialects."""

from __future__ import annotations

import json
from dataclasses import dataclass

KEYS = (
    ("content-type", "application/json"),
    ("x-api-key", "sk-ant-test"),
    ("authorization", "Bearer sk-test"),
)


@dataclass(frozen=True)
class Ask:
    """A POST that asks for an answer. `error` and `end` mark those events in its streams."""

    path: str
    model: str
    error: bytes
    end: bytes

    def __str__(self) -> str:
        return self.path.removeprefix("/v1/").replace("/", "-")

    def body(self, text: str = "Say hi.", *, stream: bool = False) -> bytes:
        """The request's JSON."""
        turns = [{"role": "user", "content": text}]
        key = "input" if self.path == "/v1/responses" else "messages"
        extra = {"max_tokens": 64} if self.path == "/v1/messages" else {}
        return json.dumps({"model": self.model, key: turns, "stream": stream, **extra}).encode()


MESSAGES = Ask("/v1/messages", "claude-opus-5-5", b"event: error\n", b"event: message_stop\n")
CHAT = Ask("/v1/chat/completions", "gpt-5.5", b'data: {"error":', b"data: [DONE]\n")
RESPONSES = Ask("/v1/responses", "gpt-5.5", b"event: error\n", b"event: response.completed\n")
ASKS = (MESSAGES, CHAT, RESPONSES)
