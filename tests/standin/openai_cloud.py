"""What the OpenAI endpoints share, and the small ones: models, embeddings, files."""

from __future__ import annotations

import base64
import json
import struct
from hashlib import sha256
from typing import Any

from standin.wire import Answer, Headers, Request

_MODELS = ("gpt-5.5", "gpt-5.5-mini", "text-embedding-3-small")
CREATED_S = 1_795_000_000


def headers(request: Request, content_type: str = "application/json") -> Headers:
    """The headers of a real answer, with a fixed clock."""
    return (
        ("Date", "Sat, 21 Nov 2026 03:00:00 GMT"),
        ("Content-Type", content_type),
        ("access-control-expose-headers", "X-Request-ID"),
        ("openai-organization", "stand-in"),
        ("openai-processing-ms", "314"),
        ("openai-project", "proj_standin"),
        ("openai-version", "2020-10-01"),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "2000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "1999990"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "0s"),
        ("x-request-id", "req_" + request.token),
        ("x-future-header", "of a later version"),
        ("cf-cache-status", "DYNAMIC"),
        ("Set-Cookie", "__cf_bm=first; path=/; HttpOnly; Secure"),
        ("Set-Cookie", "_cfuvid=second; path=/; HttpOnly; Secure"),
        ("X-Content-Type-Options", "nosniff"),
        ("Server", "cloudflare"),
        ("CF-RAY", request.token[:16] + "-FRA"),
        ("alt-svc", 'h3=":443"; ma=86400'),
    )


def indented(value: Any) -> bytes:
    """JSON as this API writes it."""
    return json.dumps(value, indent=2).encode() + b"\n"


def error(request: Request, status: int, kind: str, message: str) -> Answer:
    """An error in the API's envelope."""
    detail = {"message": message, "type": kind, "param": None, "code": None}
    return Answer(status=status, headers=headers(request), body=indented({"error": detail}))


def tokens(request: Request) -> int:
    """A made-up but repeatable count of the request's tokens."""
    return len(request.content) // 4 + 1


def models(request: Request) -> Answer:
    """`GET /v1/models`."""
    page = {"object": "list", "data": [_model(name) for name in _MODELS]}
    return Answer(headers=headers(request), body=indented(page))


def model(request: Request) -> Answer:
    """`GET /v1/models/{id}`."""
    name = request.path.rpartition("/")[2]
    if name not in _MODELS:
        return error(request, 404, "invalid_request_error", f"The model '{name}' does not exist")
    return Answer(headers=headers(request), body=indented(_model(name)))


def embeddings(request: Request) -> Answer:
    """`POST /v1/embeddings`: 8 numbers made from the text, as floats or base64."""
    body = request.json()
    texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
    as_text = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _vector(str(text), as_text)}
        for index, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": tokens(request), "total_tokens": tokens(request)}
    page = {"object": "list", "data": data, "model": body.get("model"), "usage": usage}
    return Answer(headers=headers(request), body=indented(page))


def files(request: Request) -> Answer:
    """`POST /v1/files`: what was uploaded, by its size."""
    stored = {
        "object": "file",
        "id": "file-" + request.token,
        "purpose": "batch",
        "filename": "upload.bin",
        "bytes": len(request.body),
        "created_at": CREATED_S,
        "expires_at": None,
        "status": "processed",
        "status_details": None,
    }
    return Answer(headers=headers(request), body=indented(stored))


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": CREATED_S, "owned_by": "system"}


def _vector(text: str, as_text: bool) -> list[float] | str:
    floats = [byte / 256 for byte in sha256(text.encode()).digest()[:8]]
    packed = struct.pack("<8f", *floats)
    return base64.b64encode(packed).decode() if as_text else floats
