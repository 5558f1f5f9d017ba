"""What real clients send: the requests in `captures/`, one a file, as bytes and decoded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fallback.core.conversation import Conversation
from fallback.dialects import anthropic_decode, openai_chat_decode, openai_responses_decode

_FOLDER = Path(__file__).parent / "captures"
_DECODE: dict[str, Callable[[Mapping[str, Any]], Conversation]] = {
    "/v1/messages": anthropic_decode.conversation,
    "/v1/chat/completions": openai_chat_decode.conversation,
    "/v1/responses": openai_responses_decode.conversation,
}


def conversation(name: str) -> Conversation:
    """The conversation in the capture whose file name begins with `name`."""
    found = _decoded(_path(name))
    assert found is not None
    return found


def headers(name: str) -> dict[bytes, bytes]:
    """The headers of that request, names in lower case."""
    pairs = json.loads(_path(name).read_bytes())["headers"]
    return {key.lower().encode(): value.encode() for key, value in pairs}


def body(name: str) -> dict[str, Any]:
    """The body of that request, as JSON types."""
    found: dict[str, Any] = json.loads(_path(name).read_bytes())["body"]
    return found


def conversations() -> dict[str, Conversation]:
    """All captured requests for an answer, by the names of their files."""
    decoded = {path.stem: _decoded(path) for path in sorted(_FOLDER.glob("*.json"))}
    return {name: found for name, found in decoded.items() if found is not None}


def _path(name: str) -> Path:
    (path,) = _FOLDER.glob(f"{name}-*.json")
    return path


def _decoded(path: Path) -> Conversation | None:
    capture = json.loads(path.read_bytes())
    decode = _DECODE.get(capture["path"].partition("?")[0])
    if decode is None or not isinstance(capture["body"], dict):
        return None
    return decode(capture["body"])
