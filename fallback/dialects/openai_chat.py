"""The dialect of OpenAI Chat Completions (`/v1/chat/completions`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fallback.core.answer import AnswerEvent
from fallback.core.conversation import Conversation
from fallback.dialects.base import (
    AnswerContext,
    AnswerReader,
    FirstOf,
    Mark,
    Seam,
    StreamEncoder,
    Unsplicable,
)
from fallback.dialects.custom_tools import custom_names
from fallback.dialects.jsonvalues import dump, mapping, objects, read_object
from fallback.dialects.openai_chat_decode import conversation
from fallback.dialects.openai_chat_encode import DONE, ChatStream, error_event, whole
from fallback.dialects.openai_chat_read import ChatReader, read_whole
from fallback.dialects.openai_chat_request import request
from fallback.dialects.openai_chat_seam import seam
from fallback.dialects.openai_common import OpenAICommon
from fallback.dialects.upstream import mark_event

_CONTENT_KEYS = (
    "content",
    "tool_calls",
    "function_call",
    "refusal",
    "reasoning_content",
    "reasoning",
    "audio",
)


class OpenAIChat(OpenAICommon):
    """OpenAI Chat Completions."""

    name = "openai-chat"
    watch = FirstOf(rb'_reason"\s*:\s*"', rb"\[DONE\]", rb"error")
    terminal = DONE
    path = "/v1/chat/completions"

    def decode(self, body: bytes) -> tuple[Conversation, Mapping[str, Any]]:
        raw = read_object(body)
        return conversation(raw), raw

    def encode_request(self, conversation: Conversation) -> bytes:
        return dump(request(conversation))

    def answer_reader(self, conversation: Conversation) -> AnswerReader:
        return ChatReader(custom_names(conversation.tools))

    def read_whole(self, body: bytes, conversation: Conversation) -> list[AnswerEvent]:
        return read_whole(body, custom_names(conversation.tools))

    def stream_encoder(self, context: AnswerContext) -> StreamEncoder:
        return ChatStream(context)

    def encode_whole(self, context: AnswerContext, events: list[AnswerEvent]) -> bytes:
        return whole(context, events)

    def broken(self, message: str, *, code: str) -> bytes:
        return error_event(message, code)

    def seam(self, sent: bytes) -> Seam | Unsplicable:
        return seam(sent)

    def mark(self, event: bytes) -> Mark:
        return mark_event(event, _mark, done=Mark.END)


def _mark(_kind: str, chunk: Mapping[str, Any]) -> Mark:
    if chunk.get("error"):
        return Mark.ERROR
    choices = objects(chunk.get("choices"))
    if any(choice.get("finish_reason") for choice in choices):
        return Mark.FINISHED
    deltas = [mapping(choice.get("delta")) for choice in choices]
    if any(delta.get(key) for delta in deltas for key in _CONTENT_KEYS):
        return Mark.CONTENT
    return Mark.PROLOGUE
