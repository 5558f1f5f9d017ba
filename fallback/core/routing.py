"""Which upstream, dialect and operation a request means, from its path and header names.

Told by path first, then by headers that only one provider's clients send, or explicitly by a
prefix (`/anthropic/...`, `/openai/...`, `/<upstream>/...`). What nothing tells goes to the
default upstream of the OpenAI dialect, unchanged: an unknown path never blocks the way.

Paths are raw (percent-encoding untouched), without the query.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

import msgspec

Operation: TypeAlias = Literal[
    "generate", "count_tokens", "models", "model", "embeddings", "hello", "other"
]
INFERENCE: frozenset[Operation] = frozenset({"generate", "embeddings"})
Family: TypeAlias = Literal["anthropic", "openai"]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes. `path` is what the upstream is asked for; errors of ours are told
    in `dialect`."""

    upstream: str
    path: str
    operation: Operation
    dialect: str


_EXACT: dict[str, tuple[Family, str, Operation]] = {
    "/v1/messages": ("anthropic", "anthropic", "generate"),
    "/v1/messages/count_tokens": ("anthropic", "anthropic", "count_tokens"),
    "/api/hello": ("anthropic", "anthropic", "hello"),
    "/v1/chat/completions": ("openai", "openai-chat", "generate"),
    "/v1/responses": ("openai", "openai-responses", "generate"),
    "/v1/responses/input_tokens": ("openai", "openai-responses", "count_tokens"),
    "/v1/embeddings": ("openai", "openai-chat", "embeddings"),
}
_POST_ONLY = frozenset({"generate", "count_tokens", "embeddings"})
_ANTHROPIC_HEADERS = (b"anthropic-version", b"anthropic-beta", b"x-api-key")
_MODELS = "/v1/models"
_VERSIONED = tuple(path.removeprefix("/v1") for path in _EXACT if path.startswith("/v1/"))


class Router:
    """Routes requests among `upstreams`: name -> family. Two of them, `anthropic` and
    `openai`, are the targets of bare paths."""

    def __init__(self, upstreams: Mapping[str, Family]) -> None:
        self._families = dict(upstreams)

    def route(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Route:
        """`headers` needs only the names; keys are lower case."""
        known = _EXACT.get(path)
        if known is not None:
            family, dialect, operation = known
            return self._bare(method, path, family, dialect, operation)
        name, rest = self._prefix(path)
        if name is not None:
            return self._named(method, rest, name, headers)
        return self._guess(method, normal_path(path), headers)

    def _bare(
        self, method: str, path: str, family: Family, dialect: str, operation: Operation
    ) -> Route:
        if operation in _POST_ONLY and method != "POST":
            operation = "other"
        return Route(upstream=family, path=path, operation=operation, dialect=dialect)

    def _prefix(self, path: str) -> tuple[str | None, str]:
        name, slash, rest = path[1:].partition("/")
        if name in self._families:
            return name, slash + rest or "/"
        return None, path

    def _named(
        self, method: str, path: str, upstream: str, headers: Mapping[bytes, bytes]
    ) -> Route:
        family = self._families[upstream]
        route = self._classify(method, normal_path(path), family)
        return msgspec.structs.replace(route, upstream=upstream)

    def _guess(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> Route:
        known = _EXACT.get(path)
        if known is not None:
            return self._bare(method, path, *known)
        anthropic = any(name in headers for name in _ANTHROPIC_HEADERS)
        return self._classify(method, path, "anthropic" if anthropic else "openai")

    def _classify(self, method: str, path: str, family: Family) -> Route:
        known = _EXACT.get(path)
        if known is not None and known[0] == family:
            return self._bare(method, path, *known)
        dialect = "anthropic" if family == "anthropic" else "openai-chat"
        operation: Operation = "other"
        if method in ("GET", "HEAD"):
            if path == _MODELS:
                operation = "models"
            elif path.startswith(_MODELS + "/") and "/" not in path[len(_MODELS) + 1 :]:
                operation = "model"
        return Route(upstream=family, path=path, operation=operation, dialect=dialect)


def normal_path(path: str) -> str:
    """Mend what base URLs with one `/v1` too many or too few make of the known paths.

    `/v1/v1/messages` -> `/v1/messages`; `/chat/completions` -> `/v1/chat/completions`. Anything
    else stays as it is, byte for byte.
    """
    if path.startswith("/v1/v1/"):
        return path[3:]
    if path in _VERSIONED or path == "/models" or path.startswith("/models/"):
        return "/v1" + path
    return path
