"""The formats in which families of models are told of tools and write calls."""

from __future__ import annotations

from collections.abc import Mapping

from fallback.core.tool_formats.base import AnswerReader, Offer, ToolFormat, input_form
from fallback.core.tool_formats.general import General

__all__ = ["FORMATS", "GENERAL", "AnswerReader", "Offer", "ToolFormat", "input_form"]

GENERAL: ToolFormat = General()
FORMATS: Mapping[str, ToolFormat] = {GENERAL.name: GENERAL}
