"""The format of Llama 3.1 to 3.3 for the client's own tools: one call, and nothing before it.

    {"name": "<name>", "parameters": {...}}

Some write `<|python_tag|>` in front, as for the tools that are built in; behind text that is
already there, this mark is the only way to a call.

Source: https://github.com/meta-llama/llama-models/blob/main/models/llama3_1/prompt_format.md
"""

from __future__ import annotations

from typing import ClassVar

from fallback.core.tool_formats.marked import GENERAL_MARKUP
from fallback.core.tool_formats.native import JsonCalls

_MARK = "<|python_tag|>"


class Llama3(JsonCalls):
    """The Llama 3 format."""

    name: ClassVar[str] = "llama3"
    key: ClassVar[str] = "parameters"
    mark: ClassVar[str] = _MARK
    bare: ClassVar[bool] = True
    several: ClassVar[bool] = False
    markup: ClassVar[frozenset[str]] = GENERAL_MARKUP | {_MARK}
