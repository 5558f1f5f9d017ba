"""Both clouds on one port: which answer a request gets when all is well."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Mapping
from dataclasses import replace

import brotli
from backports import zstd

from standin import anthropic_cloud, openai_cloud
from standin.openai_chat import chat
from standin.openai_responses import responses
from standin.wire import Answer, Request, compact

Route = Callable[[Request], Answer]


def _by_cloud(anthropic: Route, openai: Route) -> Route:
    def route(request: Request) -> Answer:
        return anthropic(request) if _is_anthropic(request) else openai(request)

    return route


_ROUTES: tuple[tuple[re.Pattern[str], Route], ...] = (
    (re.compile(r"POST /v1/messages"), anthropic_cloud.messages),
    (re.compile(r"POST /v1/messages/count_tokens"), anthropic_cloud.count_tokens),
    (re.compile(r"(POST|GET) /v1/messages/batches"), anthropic_cloud.batches),
    (re.compile(r"POST /v1/files"), _by_cloud(anthropic_cloud.files, openai_cloud.files)),
    (re.compile(r"GET /v1/models"), _by_cloud(anthropic_cloud.models, openai_cloud.models)),
    (re.compile(r"GET /v1/models/[^/]+"), _by_cloud(anthropic_cloud.model, openai_cloud.model)),
    (re.compile(r"POST /v1/chat/completions"), chat),
    (re.compile(r"POST /v1/responses"), responses),
    (re.compile(r"POST /v1/embeddings"), openai_cloud.embeddings),
)

COMPRESSORS: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def answer(request: Request) -> Answer:
    """What a healthy cloud says, compressed as the client asked; unknown paths are echoed."""
    route = _route(request)
    if route is None:
        return _compressed(request, _echo(request))
    if request.header("authorization") is None and request.header("x-api-key") is None:
        return _compressed(request, _keyless(request))
    try:
        return _compressed(request, route(request))
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        return _bad_request(request, f"the request cannot be understood: {error!r}")


def _route(request: Request) -> Route | None:
    line = f"{request.method} {request.path}"
    return next((route for pattern, route in _ROUTES if pattern.fullmatch(line)), None)


def _is_anthropic(request: Request) -> bool:
    return request.header("anthropic-version") is not None


def _keyless(request: Request) -> Answer:
    if _is_anthropic(request) or request.path.startswith("/v1/messages"):
        message = "x-api-key header is required"
        return anthropic_cloud.error(request, 401, "authentication_error", message)
    message = "Missing bearer authentication in header"
    return openai_cloud.error(request, 401, "invalid_request_error", message)


def _bad_request(request: Request, message: str) -> Answer:
    error = anthropic_cloud.error if _is_anthropic(request) else openai_cloud.error
    return error(request, 400, "invalid_request_error", message)


def _echo(request: Request) -> Answer:
    """What was asked, in headers too for HEAD; no tunnels and no other protocols."""
    if request.method == "CONNECT":
        return Answer(status=403, headers=(("Connection", "close"),))
    if request.header("upgrade"):
        return Answer(status=426, headers=(("Upgrade", "HTTP/1.1"),))
    target = request.target.decode("latin-1")
    said = {"method": request.method, "target": target, "body_bytes": len(request.body)}
    seen = (("Content-Type", "application/json"), ("X-Echo-Target", target))
    return Answer(headers=(*seen, ("X-Twice", "one"), ("X-Twice", "two")), body=compact(said))


def _compressed(request: Request, plain: Answer) -> Answer:
    accepted = re.split(r"[,\s;]+", request.header("accept-encoding") or "")
    coding = next((name for name in accepted if name in COMPRESSORS), None)
    if coding is None or plain.events or not plain.body:
        return plain
    headers = (*plain.headers, ("Content-Encoding", coding), ("Vary", "Accept-Encoding"))
    return replace(plain, headers=headers, body=COMPRESSORS[coding](plain.body))
