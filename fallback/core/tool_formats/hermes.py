"""The format of Hermes and Qwen, told by their templates.

    <tool_call>
    {"name": "<name>", "arguments": {...}}
    </tool_call>

Sources: https://github.com/NousResearch/Hermes-Function-Calling,
https://qwen.readthedocs.io/en/latest/framework/function_call.html
"""

from __future__ import annotations

from typing import ClassVar

from fallback.core.tool_formats.marked import CALL_CLOSE, CALL_OPEN
from fallback.core.tool_formats.native import JsonCalls


class Hermes(JsonCalls):
    """The Hermes format."""

    name: ClassVar[str] = "hermes"
    mark: ClassVar[str] = CALL_OPEN
    after_mark: ClassVar[str] = "\n"
    between: ClassVar[str] = f"\n{CALL_OPEN}\n"
    close: ClassVar[str] = CALL_CLOSE
