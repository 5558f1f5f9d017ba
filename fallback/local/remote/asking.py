"""One generation -> the body of one request to an OpenAI-compatible server. Pure.

The server has its own grammar, which knows nothing of an answer's beginning: so a structured
output, and an answer with tool calls in it, cannot be gone on with.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fallback.core.answer import Cut
from fallback.core.conversation import Conversation
from fallback.core.errors import EngineError
from fallback.core.fit import fit
from fallback.core.ports import GenerateRequest
from fallback.core.tool_formats.marked import CALL_OPEN
from fallback.core.tool_syntax import may_call_tools, must_call_tools
from fallback.dialects import openai_chat_request
from fallback.dialects.jsonvalues import dump

# JSON and code have fewer bytes in a token than the four of plain English: rather cut too much
# than be refused.
_BYTES_PER_TOKEN = 3


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. `repeats` is the text that the server will say again, since it cannot go on
    after it. `input_tokens` is an estimate."""

    body: bytes
    cuts: tuple[Cut, ...]
    input_tokens: int
    repeats: str
    prefilled: bool


def estimated_tokens(conversation: Conversation) -> int:
    """About how many tokens the conversation has, its tools included; rather more than less."""
    return -(-len(dump(openai_chat_request.request(conversation))) // _BYTES_PER_TOKEN)


def ask(
    request: GenerateRequest, model: str, context_tokens: int, *, continues: bool, share: float
) -> Ask:
    """The request for a context of this size, of which the prompt may take `share` of what is
    left beside the answer. Raises `EngineError` where the answer cannot be gone on with."""
    conversation = _sayable(request)
    sampling = conversation.sampling
    wanted = max(1, min(sampling.max_tokens or request.max_tokens, request.max_tokens))
    room = max(1, context_tokens - len(request.prefix.encode()) // _BYTES_PER_TOKEN)
    # The answer keeps a part of the context, however much the prompt would take.
    reserve = min(wanted, max(1, room // 4))
    budget = int(request.prompt_room(room - reserve) * share)
    fitted = fit(conversation, budget, estimated_tokens)
    tokens = estimated_tokens(fitted.conversation)
    limit = max(1, min(wanted, room - tokens))
    body = openai_chat_request.request(fitted.conversation)
    said = _begin(body, request.prefix, continues=continues)
    return Ask(
        body=dump(body | _limits(model, limit, sampling.top_k)),
        cuts=fitted.cuts,
        input_tokens=tokens,
        repeats="" if continues else said,
        prefilled=continues and bool(said),
    )


def _sayable(request: GenerateRequest) -> Conversation:
    """The conversation as these servers take it: tools or a format, not both."""
    conversation = msgspec.structs.replace(request.conversation, stream=True)
    if conversation.output_format is not None and must_call_tools(conversation):
        conversation = msgspec.structs.replace(conversation, output_format=None)
    elif conversation.output_format is not None and not may_call_tools(conversation):
        conversation = msgspec.structs.replace(conversation, tools=())
    if request.prefix and (conversation.output_format or CALL_OPEN in request.prefix):
        raise EngineError(
            "A remote server cannot go on with structured output or tool calls that another "
            "model began. Please send the request again."
        )
    return conversation


def _begin(body: dict[str, Any], prefix: str, *, continues: bool) -> str:
    """Put the beginning of the answer into the body; returns it. One that the client itself
    wrote, in the last messages, is part of it: llama-server takes one such message alone."""
    messages: list[dict[str, Any]] = body["messages"]
    begun: list[str] = []
    while messages and messages[-1]["role"] == "assistant" and "tool_calls" not in messages[-1]:
        begun.insert(0, _text(messages.pop()["content"]))
    said = "\n\n".join(begun) + prefix
    if said and continues:
        messages.append({"role": "assistant", "content": said})
        # llama-server and Ollama go on after a last message of the assistant's by themselves,
        # vLLM on being told.
        body |= {"continue_final_message": True, "add_generation_prompt": False}
    return said


def _text(content: str | list[dict[str, str]]) -> str:
    return content if isinstance(content, str) else "\n\n".join(part["text"] for part in content)


def _limits(model: str, max_tokens: int, top_k: int | None) -> dict[str, Any]:
    # Ollama knows the limit by its old name alone; here, unlike at OpenAI, all know that.
    fields: dict[str, Any] = {"model": model, "max_tokens": max_tokens}
    return fields if top_k is None else {**fields, "top_k": top_k}
