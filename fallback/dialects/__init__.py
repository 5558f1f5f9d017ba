"""The wire protocols, by name. A new one is a file here and a line below."""

from __future__ import annotations

from collections.abc import Mapping

from fallback.dialects.anthropic import Anthropic
from fallback.dialects.base import Dialect
from fallback.dialects.openai_chat import OpenAIChat
from fallback.dialects.openai_responses import OpenAIResponses

_BUILT_IN: tuple[Dialect, ...] = (
    Anthropic(),
    OpenAIChat(),
    OpenAIResponses(),
)

DIALECTS: Mapping[str, Dialect] = {dialect.name: dialect for dialect in _BUILT_IN}
