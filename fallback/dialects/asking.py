"""What the encoders of requests share: text for what cannot travel, and schemas that are strict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fallback.core.conversation import Attachment, Part, Text, ToolResult

JSON_ONLY = "Answer with one JSON object and nothing else."


def sayable(parts: Iterable[Part]) -> list[str]:
    """The texts among the parts, a note for each attachment; blank ones, and reasoning that
    another model wrote (which servers refuse), are left out."""
    texts = [
        part.note() if isinstance(part, Attachment) else part.text
        for part in parts
        if isinstance(part, Attachment | Text)
    ]
    return [text for text in texts if text and not text.isspace()]


def result_text(result: ToolResult) -> str:
    """A result for a server that has no field for failures."""
    return f"error: {result.text}" if result.is_error else result.text


def is_strict(schema: Mapping[str, Any]) -> bool:
    """Whether OpenAI's servers would take the schema as `strict`: every object in it is closed
    and all its properties are required.

    Source: https://platform.openai.com/docs/guides/structured-outputs#supported-schemas
    """
    return schema.get("type") == "object" and _is_closed(schema)


def _is_closed(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_is_closed, value))
    if not isinstance(value, dict):
        return True
    if value.get("type") == "object" or isinstance(value.get("properties"), dict):
        properties, required = value.get("properties"), value.get("required")
        if value.get("additionalProperties") is not False or not isinstance(properties, dict):
            return False
        if not isinstance(required, list) or set(map(str, required)) != set(properties):
            return False
    return all(map(_is_closed, value.values()))
