"""The formats in which families of models are told of tools and write calls."""

from __future__ import annotations

from collections.abc import Mapping

from fallback.core.conversation import Conversation
from fallback.core.tool_formats.base import AnswerReader, Offer, ToolFormat, input_form
from fallback.core.tool_formats.general import General
from fallback.core.tool_formats.harmony import Harmony
from fallback.core.tool_formats.hermes import Hermes
from fallback.core.tool_formats.llama3 import Llama3
from fallback.core.tool_formats.mistral import MistralArgs, MistralArray
from fallback.core.tool_syntax import callable_tools

__all__ = [
    "FORMATS",
    "GENERAL",
    "AnswerReader",
    "Offer",
    "ToolFormat",
    "detect",
    "format_for",
    "input_form",
]

GENERAL: ToolFormat = General()
FORMATS: Mapping[str, ToolFormat] = {
    form.name: form
    for form in (GENERAL, Hermes(), Llama3(), MistralArray(), MistralArgs(), Harmony())
}

# What the template's source must hold, and must not; the first that fits.
_SIGNS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("harmony", ("<|channel|>", "<|message|>", "tools"), ()),
    ("mistral-args", ("[TOOL_CALLS]", "[ARGS]", "tools"), ()),
    ("mistral", ("[TOOL_CALLS]", "tools"), ("[ARGS]",)),
    ("hermes", ("<tool_call>", "arguments", "tools"), ("<function=", "<arg_key>")),
    ("llama3", ("<|start_header_id|>", "parameters", "tools"), ("<tool_call>",)),
)


def detect(template: str) -> ToolFormat:
    """The format that a chat template's source (Jinja) seems to have. It is only a guess: a
    rendering must prove it."""
    for name, present, absent in _SIGNS:
        if all(sign in template for sign in present) and not any(
            sign in template for sign in absent
        ):
            return FORMATS[name]
    return GENERAL


def format_for(name: str, conversation: Conversation) -> ToolFormat:
    """The format of one answer, by a model whose template has the format `name`: the general one
    where that cannot write the calls of all tools, or is not known."""
    found = FORMATS.get(name, GENERAL)
    return found if found.takes(callable_tools(conversation)) else GENERAL
