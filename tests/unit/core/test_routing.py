"""Which upstream, dialect and operation a path means."""

import pytest

from fallback.core.routing import Router, normal_path

ROUTER = Router({"anthropic": "anthropic", "openai": "openai", "mirror": "anthropic"})
ANTHROPIC = {b"anthropic-version": b"2023-06-01"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "expected"),
    [
        ("POST", "/v1/messages", {}, ("anthropic", "/v1/messages", "generate", "anthropic")),
        ("GET", "/v1/messages", {}, ("anthropic", "/v1/messages", "other", "anthropic")),
        (
            "POST",
            "/v1/v1/messages",
            {},
            ("anthropic", "/v1/messages", "generate", "anthropic"),
        ),
        (
            "POST",
            "/v1/messages/count_tokens",
            {},
            ("anthropic", "/v1/messages/count_tokens", "count_tokens", "anthropic"),
        ),
        (
            "POST",
            "/v1/messages/batches",
            ANTHROPIC,
            ("anthropic", "/v1/messages/batches", "other", "anthropic"),
        ),
        ("HEAD", "/api/hello", {}, ("anthropic", "/api/hello", "hello", "anthropic")),
        (
            "POST",
            "/chat/completions",
            {},
            ("openai", "/v1/chat/completions", "generate", "openai-chat"),
        ),
        ("POST", "/responses", {}, ("openai", "/v1/responses", "generate", "openai-responses")),
        ("POST", "/v1/embeddings", {}, ("openai", "/v1/embeddings", "embeddings", "openai-chat")),
        ("GET", "/v1/models", {}, ("openai", "/v1/models", "models", "openai-chat")),
        ("GET", "/v1/models", ANTHROPIC, ("anthropic", "/v1/models", "models", "anthropic")),
        ("GET", "/models", {}, ("openai", "/v1/models", "models", "openai-chat")),
        ("GET", "/v1/models/gpt-5", {}, ("openai", "/v1/models/gpt-5", "model", "openai-chat")),
        ("DELETE", "/v1/models/ft", {}, ("openai", "/v1/models/ft", "other", "openai-chat")),
        ("POST", "/v1/files", ANTHROPIC, ("anthropic", "/v1/files", "other", "anthropic")),
        ("POST", "/v1/files", {}, ("openai", "/v1/files", "other", "openai-chat")),
        (
            "POST",
            "/anthropic/v1/messages",
            {},
            ("anthropic", "/v1/messages", "generate", "anthropic"),
        ),
        ("POST", "/mirror/messages", {}, ("mirror", "/v1/messages", "generate", "anthropic")),
        ("GET", "/openai/v1/a%2Fb//c", {}, ("openai", "/v1/a%2Fb//c", "other", "openai-chat")),
        ("GET", "/anthropic", {}, ("anthropic", "/", "other", "anthropic")),
        ("PATCH", "/never/heard/of", {}, ("openai", "/never/heard/of", "other", "openai-chat")),
    ],
)
def test_a_request_is_routed(
    method: str, path: str, headers: dict[bytes, bytes], expected: tuple[str, str, str, str]
) -> None:
    """By path, then by the headers only one provider's clients send, or by prefix."""
    route = ROUTER.route(method, path, headers)
    assert (route.upstream, route.path, route.operation, route.dialect) == expected


@pytest.mark.parametrize("path", ["/", "/v1", "/v2/messages", "/v1/messages/", "/x%2Fy"])
def test_other_paths_stay_as_they_are(path: str) -> None:
    """Only the known mistakes of base URLs are mended."""
    assert normal_path(path) == path
