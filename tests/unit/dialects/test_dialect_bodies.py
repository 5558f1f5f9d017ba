"""Errors, models and token counts, as the official SDKs read them."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from dialect_sdk import ANTHROPIC, OPENAI, USER, serve_json

from fallback.dialects import DIALECTS

EXTRA = {"provenance": {"tier": "local"}}
OPENAI_NAMES = ["openai-chat", "openai-responses"]
STATUSES = [400, 401, 403, 404, 413, 422, 429, 500, 503, 529]


@pytest.mark.parametrize("status", STATUSES)
def test_errors_of_anthropic(status: int) -> None:
    """An error is the SDK's exception for its status, with message, code and provenance."""
    body = DIALECTS["anthropic"].error_body(status, "no", code="our_code", extra=EXTRA)
    serve_json(body, status=status)
    with pytest.raises(anthropic.APIStatusError) as caught:
        ANTHROPIC.messages.create(model="claude", max_tokens=1, messages=USER)
    error: Any = caught.value.body
    assert caught.value.status_code == status
    assert (error["type"], error["provenance"]) == ("error", {"tier": "local"})
    assert (error["error"]["message"], error["error"]["code"]) == ("no", "our_code")


@pytest.mark.parametrize(
    ("status", "anthropics", "openais"),
    [
        (400, "invalid_request_error", "invalid_request_error"),
        (401, "authentication_error", "authentication_error"),
        (403, "permission_error", "permission_error"),
        (404, "not_found_error", "not_found_error"),
        (413, "request_too_large", "invalid_request_error"),
        (429, "rate_limit_error", "rate_limit_error"),
        (500, "api_error", "server_error"),
        (503, "overloaded_error", "server_error"),
        (529, "overloaded_error", "server_error"),
    ],
)
def test_types_of_errors(status: int, anthropics: str, openais: str) -> None:
    """Each status has the type that the cloud gives it."""
    for name, type_ in (("anthropic", anthropics), *((name, openais) for name in OPENAI_NAMES)):
        body = DIALECTS[name].error_body(status, "no", code="", extra={})
        assert DIALECTS[name].read_error(body).type == type_


@pytest.mark.parametrize("name", OPENAI_NAMES)
@pytest.mark.parametrize("status", STATUSES)
def test_errors_of_openai(name: str, status: int) -> None:
    """An error is the SDK's exception for its status, with message and code."""
    serve_json(DIALECTS[name].error_body(status, "no", code="our_code", extra=EXTRA), status=status)
    with pytest.raises(openai.APIStatusError) as caught:
        OPENAI.responses.create(model="gpt", input="hi")
    assert (caught.value.status_code, caught.value.code) == (status, "our_code")


def test_models_of_anthropic() -> None:
    """The list of models pages as the SDK expects, and one model reads alike."""
    serve_json(DIALECTS["anthropic"].models_body(["a", "b"], 1_700_000_000, EXTRA))
    page = ANTHROPIC.models.list()
    assert [model.id for model in page] == ["a", "b"]
    assert (page.first_id, page.last_id, page.has_more) == ("a", "b", False)
    serve_json(DIALECTS["anthropic"].model_body("a", 1_700_000_000, EXTRA))
    model = ANTHROPIC.models.retrieve("a")
    assert (model.display_name, model.created_at.timestamp()) == ("a", 1_700_000_000)
    serve_json(DIALECTS["anthropic"].models_body([], 0, {}))
    assert list(ANTHROPIC.models.list()) == []


@pytest.mark.parametrize("name", OPENAI_NAMES)
def test_models_of_openai(name: str) -> None:
    """The list of models and one model read as the SDK expects."""
    serve_json(DIALECTS[name].models_body(["a", "b"], 1_700_000_000, EXTRA))
    assert [model.id for model in OPENAI.models.list()] == ["a", "b"]
    serve_json(DIALECTS[name].model_body("a", 1_700_000_000, EXTRA))
    model = OPENAI.models.retrieve("a")
    assert (model.id, model.created, model.object) == ("a", 1_700_000_000, "model")


def test_token_counts() -> None:
    """A count is the number the SDK's own call returns."""
    serve_json(DIALECTS["anthropic"].count_tokens_body(42, EXTRA))
    assert ANTHROPIC.messages.count_tokens(model="claude", messages=USER).input_tokens == 42
    serve_json(DIALECTS["openai-responses"].count_tokens_body(42, EXTRA))
    assert OPENAI.responses.input_tokens.count(model="gpt", input="hi").input_tokens == 42
