"""How many tokens a conversation has, by the server's own count.

Sources: llama.cpp tools/server/README.md (`/apply-template`, `/tokenize`), vLLM
entrypoints/serve/tokenize/protocol.py (`TokenizeChatRequest`), and OpenAI's
`/v1/responses/input_tokens`, which a `fallback` answers too.
"""

from __future__ import annotations

from typing import Any

from fallback.core.conversation import Conversation
from fallback.dialects import openai_chat_request, openai_responses_request
from fallback.dialects.jsonvalues import integer, mapping, string
from fallback.local.remote.server import Server
from fallback.local.remote.wire import Wire


async def count(
    wire: Wire, server: Server, conversation: Conversation, *, limit_s: float
) -> int | None:
    """The count; None where this make does not tell it. Raises `EngineError`."""
    if server.make == "fallback":
        body = {**openai_responses_request.request(conversation), "stream": False}
        said = await wire.post("/v1/responses/input_tokens", body, limit_s=limit_s)
        return integer(mapping(said).get("input_tokens"))
    asked = openai_chat_request.request(conversation)
    shown: dict[str, Any] = {key: asked[key] for key in ("messages", "tools") if key in asked}
    if server.make == "vllm":
        said = await wire.post("/tokenize", {"model": server.model, **shown}, limit_s=limit_s)
        return integer(mapping(said).get("count"))
    if server.make == "llama-server":
        return await _rendered(wire, shown, limit_s)
    return None


async def _rendered(wire: Wire, shown: dict[str, Any], limit_s: float) -> int | None:
    prompt = mapping(await wire.post("/apply-template", shown, limit_s=limit_s)).get("prompt")
    body = {"content": string(prompt), "add_special": True}
    tokens = mapping(await wire.post("/tokenize", body, limit_s=limit_s)).get("tokens")
    return len(tokens) if isinstance(tokens, list) else None
