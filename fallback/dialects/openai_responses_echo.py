"""What a Responses answer repeats of its request.

Source: `Response` in the types of the `openai` package. A field of the wrong type is left out
or replaced by the API's default: what a client sent wrongly must not break its own parser.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fallback.dialects.jsonvalues import (
    boolean,
    integer,
    mapping,
    number,
    objects,
    optional_string,
)
from fallback.dialects.openai_responses_decode import all_tools

_MODES = ("none", "auto", "required")


def echoed(request: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a response that only repeat the request, or the API's defaults.

    `store` is always false: no answer of ours can be fetched or referred to later.
    """
    return {
        "background": False,
        "instructions": optional_string(request.get("instructions")),
        "max_output_tokens": integer(request.get("max_output_tokens")),
        "metadata": _texts(mapping(request.get("metadata"))),
        "parallel_tool_calls": boolean(request.get("parallel_tool_calls"), True),
        "previous_response_id": optional_string(request.get("previous_response_id")),
        "prompt_cache_key": optional_string(request.get("prompt_cache_key")),
        "reasoning": _texts(mapping(request.get("reasoning"))),
        "store": False,
        "temperature": number(request.get("temperature")),
        "text": mapping(request.get("text")) or {"format": {"type": "text"}},
        "tool_choice": _tool_choice(request.get("tool_choice")),
        "tools": objects(request.get("tools")),
        "top_p": number(request.get("top_p")),
        "truncation": "disabled",
    }


def namespace_of(request: Mapping[str, Any], name: str) -> str | None:
    """The namespace of the tool `name`, which a call has to give beside the name."""
    found = (tool for tool in all_tools(request) if tool.get("name") == name)
    return next((optional_string(tool.get("namespace")) for tool in found), None)


def _texts(value: Mapping[str, Any]) -> dict[str, str]:
    return {key: text for key, text in value.items() if isinstance(text, str)}


def _tool_choice(value: Any) -> Any:
    return value if value in _MODES or mapping(value) else "auto"
